"""Says what there is by name: policies with their parameters, profiles, workloads, trace formats, predictors, routers.

examples:
  slosim list
  slosim list policies
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from experiments.escaping import say


def configure(parser: ArgumentParser) -> None:
    """The options."""
    parser.add_argument("what", nargs="?", choices=list(KINDS), help="only these (default: all)")


def main(options: Namespace) -> int:
    """Prints."""
    chosen = [options.what] if options.what else list(KINDS)
    for number, what in enumerate(chosen):
        if number:
            say("")
        say(f"{what}:")
        for line in KINDS[what]():
            say(f"  {line}")
    return 0


def _policies() -> Iterator[str]:
    from pkgutil import resolve_name

    from sim.faults import interrupted
    from sim.registry import schedulers

    for name, path in sorted(schedulers().items()):
        try:
            yield from described(name, resolve_name(path))
        except BaseException as error:  # an installed package that fails must not hide the others
            if interrupted(error):
                raise
            yield f"{name:16} cannot be loaded from {path}: {error}"
    yield "module:Class     a policy of your own (slosim check module:Class)"


def described(name: str, kind: Any) -> Iterator[str]:
    """A name, the first line of what it is, and a line of its parameters with their defaults."""
    yield f"{name:16} {(kind.__doc__ or f'{kind.__module__}:{kind.__qualname__}').strip().splitlines()[0]}"
    known = fields(kind) if is_dataclass(kind) else ()
    told = [each.name if each.default is MISSING else f"{each.name}={each.default}" for each in known if each.init]
    for first in range(0, len(told), 5):
        yield f"{'':16}   {', '.join(told[first : first + 5])}"


def _profiles() -> Iterator[str]:
    from costmodel import profile, profiles

    for name in profiles():
        found = profile(name)
        kind = "a prior: nothing was measured" if found.prior else str(found.provenance["measured_on"])
        yield f"{name:30} {kind}"
    yield f"{'FILE.json':30} a profile of your own (slosim fit)"


def _workloads() -> Iterator[str]:
    from traces import PAPER_RATES

    yield "paper_mix        35 % BookCorpus, the rest half Alpaca, half ShareGPT; Poisson, 8 requests/s in the paper"
    for name, rate in PAPER_RATES.items():
        yield f"{name:16} this application alone; {rate:g} requests/s in the paper"
    yield "FILE             a trace in one of the formats below"


def _formats() -> Iterator[str]:
    from traces import FORMATS

    yield from (f"{name:16} {kind.description}" for name, kind in FORMATS.items())


def _routers() -> Iterator[str]:
    from sim.registry import ROUTERS

    for name, kind in ROUTERS.items():
        yield from described(name, kind)
    yield "module:Class     a router of your own: an object with route(request, servers)"


def _predictors() -> Iterator[str]:
    from sim.registry import PREDICTORS

    for name, kind in PREDICTORS.items():
        yield from described(name, kind)


KINDS: dict[str, Callable[[], Iterator[str]]] = {
    "policies": _policies,
    "profiles": _profiles,
    "workloads": _workloads,
    "formats": _formats,
    "predictors": _predictors,
    "routers": _routers,
}
"""What can be listed."""
