"""Where points are run, by name: processes of this machine, this process, a cluster, or an executor of one's own.

Whatever it is, it is a `concurrent.futures.Executor`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib import import_module
from typing import Any

from experiments.pool import OneEach, asked_of_environment, cores
from experiments.sweeps.driver import Cluster
from sim.faults import interrupted
from traces.errors import SlosimError

FORMS = "local, local:PROCESSES, serial, dask:ADDRESS, slurm:FILE.toml, or module:callable"


@contextmanager
def opened(spec: str, jobs: int | None = None) -> Iterator[Cluster]:
    """The executor that `spec` names, ready for work; leaving by an error or an interrupt ends local processes at once.

    `jobs` is the number of local processes, elsewhere of points that are under way at a time; SLOSIM_JOBS in the
    environment stands in for it. Raises SlosimError if
    there is no such executor or it cannot be reached.
    """
    name, _, rest = spec.partition(":")
    jobs = jobs or asked_of_environment() or None
    with ExitStack() as stack:
        if name == "local":
            number = _number(spec, rest) if rest else jobs or cores()
            yield Cluster(OneEach(number, stack), number)
        elif spec == "serial":
            yield Cluster(Here(), 1)
        elif name in ("dask", "slurm") and rest:
            from experiments.sweeps import clusters

            yield stack.enter_context((clusters.dask if name == "dask" else clusters.slurm)(rest, jobs))
        elif rest:
            yield Cluster(Reopening(spec, _callable(spec), stack), jobs or 2 * cores())
        else:
            raise SlosimError(f"--executor {spec}: there is no such; write {FORMS}")


class Here(Executor):
    """Runs everything in this process, when it is submitted."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Runs it; an error goes into the future, an interrupt goes through."""
        future: Future[Any] = Future()
        try:
            future.set_result(work(*arguments, **named))
        except Exception as error:
            future.set_exception(error)
        return future


class Reopening(Executor):
    """An executor of one's own, made anew when it is broken."""

    def __init__(self, spec: str, make: Callable[[], Executor], stack: ExitStack) -> None:
        self.spec = spec
        self.make = make
        self.stack = stack
        self.executor = self._made()

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Hands it on."""
        try:
            return self.executor.submit(work, *arguments, **named)
        except BrokenExecutor:
            self.executor = self._made()
            return self.executor.submit(work, *arguments, **named)

    def _made(self) -> Executor:
        try:
            made = self.make()
        except BaseException as error:
            raise _foreign(self.spec, error) from error
        if not isinstance(made, AbstractContextManager) or not hasattr(made, "submit"):
            raise SlosimError(f"--executor: {made!r} is no concurrent.futures.Executor; return one")
        return self.stack.enter_context(made)


def _foreign(spec: str, error: BaseException) -> BaseException:
    """The error to report for what a user's executor raised; an interrupt is returned unchanged."""
    if interrupted(error):
        return error
    return SlosimError(f"--executor {spec}: it raised {type(error).__name__}: {error}")


def _number(spec: str, text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise SlosimError(f"--executor {spec}: write local:N with a number of processes")
    return int(text)


def _callable(spec: str) -> Callable[[], Executor]:
    module, _, name = spec.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SlosimError(f"--executor {spec}: {error}; write {FORMS}") from error
    except BaseException as error:
        raise _foreign(spec, error) from error
    if not callable(found):
        raise SlosimError(f"--executor {spec}: {name} cannot be called; name a function that returns an Executor")
    return found  # type: ignore[no-any-return]
