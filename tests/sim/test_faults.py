"""A policy that raises, ends the program, loops or returns rubbish is named, with the line of its own code."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from costmodel import profile
from experiments.cli import main
from sim.check import check_scheduler
from sim.errors import PolicyFault, SchedulerError, UnknownScheduler
from sim.patience import NOT_ENFORCED, VARIABLE, patience
from sim.registry import scheduler
from sim.simulation import simulate
from traces import paper_mix

HEAD = """\
from sim.schedulers.vllm import Vllm
import sys, time
class Odd(Exception):
    def __init__(self, one, two): super().__init__()
class X(Vllm):
"""
"""Five lines; the body of the class follows."""

SCHEDULE = "    def schedule(self, server):\n        "
RAISED = {
    "sys.exit(0)": "schedule called sys.exit(0)",
    "sys.exit()": "schedule called sys.exit()",
    "raise KeyError('k')": "schedule raised KeyError: 'k'",
    "raise KeyboardInterrupt": "schedule raised KeyboardInterrupt",
    "raise GeneratorExit": "schedule raised GeneratorExit",
    "raise StopIteration": "schedule raised RuntimeError: generator raised StopIteration",
    "raise BaseException('all')": "schedule raised BaseException: all",
    "raise MemoryError": "schedule raised MemoryError",
    "raise Odd(1, 2)": "schedule raised Odd",
    "return self.schedule(server)": "schedule raised RecursionError",
    "return server.new_batch(1).prefill(server.waiting.first)": "schedule ",
    "return eval('1 +')": "schedule raised SyntaxError",
    "import numpy; return numpy.zeros(3).reshape(2)": "schedule raised ValueError: cannot reshape",
    "raise ValueError('two\\nlines')": "schedule raised ValueError: two lines at",
}
RUBBISH = {
    "return None": "schedule returned None",
    "return 7": "schedule returned 7",
    "return type(server.new_batch(9))(type('S', (), {'free_blocks': 9})(), 9)": "a batch of another server",
    "b = super().schedule(server); b.prefills = {r: -5 for r in b.prefills}; return b": "-5 tokens of its prompt",
    "b = super().schedule(server); b.prefills = {r: 2.5 for r in b.prefills}; return b": "2.5 tokens of its prompt",
    "b = super().schedule(server); b.tokens = -1; return b": "a batch of -1 tokens",
    "b = super().schedule(server); b.admitted = 5; return b": "what it returned cannot be used",
}
HOOKS = {
    "priority": "    def priority(self, request):\n        sys.exit(0)\n",
    "deadline": "    def deadline(self, request):\n        sys.exit(0)\n",
    "arrived": "    def arrived(self, request):\n        sys.exit(0)\n",
    "ended": "    def ended(self, server, batch):\n        sys.exit(0)\n",
    "repeated": "    def repeated(self, server, batch, ends):\n        sys.exit(0)\n",
    "bind": "    def bind(self, server):\n        sys.exit(0)\n",
    "epoch": "    def epoch(self, server):\n        sys.exit(0)\n",
    "notes": "    def notes(self):\n        sys.exit(0)\n",
    "predictor": "    @property\n    def predictor(self):\n        sys.exit(0)\n",
    "__repr__": "    def __repr__(self):\n        sys.exit(0)\n",
}
MODULES = {
    "sys.exit(0)": "its module called sys.exit(0) at",
    "raise RuntimeError('needs a GPU')": "its module raised RuntimeError: needs a GPU at",
    "1 +": "its module raised SyntaxError",
    "import no_such_helper": "its module raised ModuleNotFoundError: No module named 'no_such_helper' at",
    "sys.no_such_name": "its module raised AttributeError",
    "raise KeyboardInterrupt": "its module raised KeyboardInterrupt at",
}

Module = Callable[[str], str]
numbers = count()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Module:
    """Writes a module of one's own and gives its name."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(text: str) -> str:
        name = f"bad_policy_{next(numbers)}"
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        return name

    return write


def served(spec: str) -> None:
    simulate(paper_mix(9, 100.0, 0), spec, profile("opt-13b@a100-80gb-vllm"), kv_blocks=300, block_size=32)


@pytest.mark.parametrize("body", RAISED)
def test_what_a_decision_raises_names_policy_and_line(body: str, module: Module) -> None:
    name = module(HEAD + SCHEDULE + body + "\n")
    with pytest.raises(PolicyFault) as run:
        served(f"{name}:X")
    told = str(run.value)
    assert told.startswith(f"policy {name}:X: {RAISED[body]}")
    assert f"{name}.py:7" in told
    assert "\n" not in told
    with pytest.raises(SchedulerError, match=rf"trial 'one request alone': policy {name}:X: .*{name}.py:7"):
        check_scheduler(f"{name}:X")


@pytest.mark.parametrize("body", RUBBISH)
def test_what_a_decision_returns_is_looked_at(body: str, module: Module) -> None:
    name = module(HEAD + SCHEDULE + body + "\n")
    with pytest.raises(PolicyFault, match="policy ") as run:
        served(f"{name}:X")
    assert RUBBISH[body] in str(run.value)
    assert f"{name}.py:6" in str(run.value), "where it is defined"
    with pytest.raises(SchedulerError, match=rf"{name}.py:6"):
        check_scheduler(f"{name}:X")


@pytest.mark.parametrize("hook", HOOKS)
def test_so_is_everything_else_that_the_engine_asks(hook: str, module: Module) -> None:
    name = module(HEAD + HOOKS[hook])
    with pytest.raises(PolicyFault, match=rf"policy {name}:X: {hook} called sys.exit\(0\) at .*{name}.py:[78]"):
        served(f"{name}:X")
    with pytest.raises(SchedulerError, match=rf"{hook} called sys.exit\(0\) at .*{name}.py:[78]"):
        check_scheduler(f"{name}:X")


@pytest.mark.parametrize(
    ("hook", "told"),
    [
        ("def bind(self, server): return None", "bind of .* returned None"),
        ("def priority(self, request): return (request.id % 2 and 'a') or 1", "what it returned cannot be used"),
        ("def notes(self): return 3", "what it returned cannot be used"),
    ],
)
def test_answers_of_other_questions_that_make_no_sense(hook: str, told: str, module: Module) -> None:
    name = module(f"{HEAD}    {hook}\n")
    with pytest.raises(SchedulerError, match=told):
        served(f"{name}:X")


def test_a_helper_s_line_comes_with_the_policy_s_own(module: Module) -> None:
    helper = module("def help():\n    return 1 / 0\n")
    name = module(f"import {helper}\n{HEAD}{SCHEDULE}{helper}.help()\n")
    with pytest.raises(PolicyFault, match=rf"ZeroDivisionError.* at .*{helper}.py:2, called from .*{name}.py:8"):
        served(f"{name}:X")


@pytest.mark.parametrize("line", MODULES)
def test_a_module_that_cannot_be_loaded(line: str, module: Module) -> None:
    name = module(f"import sys\n\n{line}\n")
    with pytest.raises(PolicyFault) as raised:
        scheduler(f"{name}:X")
    assert str(raised.value).startswith(f"policy {name}:X: {MODULES[line]}")
    assert f"{name}.py:3" in str(raised.value)


def test_a_policy_that_cannot_be_made(module: Module) -> None:
    name = module("import sys\nclass X:\n    def __init__(self, size):\n        sys.exit(0)\n")
    with pytest.raises(PolicyFault, match=rf"__init__ called sys.exit\(0\) at .*{name}.py:4"):
        scheduler(f"{name}:X,size=3")
    with pytest.raises(UnknownScheduler, match="missing 1 required positional argument: 'size'"):
        scheduler(f"{name}:X")


COMMANDS = {
    "run": ["run", "SPEC", "--requests", "5", "-o", "OUT"],
    "compare": ["compare", "-p", "SPEC", "--requests", "5", "--rate", "1", "--jobs", "1", "-o", "OUT"],
    "regress": ["regress", "SPEC", "--against", "vllm", "--requests", "5", "--seeds", "2", "--jobs", "1"],
    "baseline": ["regress", "vllm", "--against", "SPEC", "--requests", "5", "--seeds", "2", "--jobs", "1"],
    "stories": ["regress", "-p", "SPEC", "--stories", "OUT/mine.json", "--update", "--jobs", "1"],
    "capacity": ["capacity", "-p", "SPEC", "--target", "mean_jct<=9", "--requests", "5", "--seeds", "1", "-o", "OUT"],
    "sweep": ["sweep", "OUT/study.toml", "-p", "SPEC", "-o", "OUT", "--executor", "serial"],
    "search": ["search", "-p", "SPEC", "--requests", "5", "--simulations", "9", "--jobs", "1", "-o", "OUT"],
    "check": ["check", "SPEC"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("where", ["schedule", "module"])
def test_every_command_fails_and_names_policy_and_line(
    command: str, where: str, module: Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = module(HEAD + SCHEDULE + "sys.exit(0)\n" if where == "schedule" else "import sys\nsys.exit(0)\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "study.toml").write_text("rates = [1.0]\n[trace]\nrequests = 5\n")
    words = [word.replace("OUT", str(tmp_path / "out")).replace("SPEC", f"{name}:X") for word in COMMANDS[command]]
    if "-o" in words and command == "compare":
        words[-1] += "/compared"
    code = main([*words, "--executor", "serial"] if command == "capacity" else words)
    told = "".join(capsys.readouterr())
    assert code in (1, 2)
    assert code == 1 or command != "check", "a verdict"
    assert f"{name}:X" in told
    assert f"{name}.py:{7 if where == 'schedule' else 2}" in told.replace("\n", "")
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (HEAD + SCHEDULE + "\n        while True: pass\n", "schedule took longer than 0.3 s at"),
        (HEAD + SCHEDULE + "time.sleep(60)\n", "schedule took longer than 0.3 s at"),
        (
            HEAD
            + SCHEDULE
            + "\n        while True:\n            try: time.sleep(9)\n            except Exception: 1\n",
            "took",
        ),
        (HEAD + "    def priority(self, request):\n        while True: pass\n", "priority took longer than 0.3 s at"),
        (HEAD + "    def __init__(self):\n        while True: pass\n", "__init__ took longer than 0.3 s at"),
        ("while True: pass\n", "its module took longer than 0.3 s at"),
    ],
)
def test_a_call_without_an_end_is_ended(text: str, told: str, module: Module) -> None:
    name = module(text)
    began = time.monotonic()
    with pytest.raises(SchedulerError, match=rf"policy {name}:X: .*{told}.*{name}.py:\d"):
        check_scheduler(f"{name}:X", limit=0.3)
    assert time.monotonic() - began < 5
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_commands_have_a_limit_too(
    module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, "0.4")
    name = module(HEAD + SCHEDULE + "\n        while True: pass\n")
    assert main(["run", f"{name}:X", "--requests", "5", "-o", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert f"policy {name}:X: schedule took longer than 0.4 s at" in told
    assert f"{VARIABLE}=S in the environment allows more" in told
    assert main(["check", f"{name}:X", "--limit", "0.3"]) == 1
    assert "--limit S allows more" in capsys.readouterr().err


def test_many_quick_decisions_may_take_longer_together() -> None:
    with patience(0.2) as enforced:
        assert enforced
        began = time.monotonic()
        while time.monotonic() - began < 0.5:
            served("vllm")


def test_where_no_limit_can_be_kept_that_is_said() -> None:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(str(check_scheduler("vllm", limit=5.0))))
    thread.start()
    thread.join()
    assert f"note: {NOT_ENFORCED}" in found[0]
    assert NOT_ENFORCED not in str(check_scheduler("vllm", limit=0.0)), "none was asked for"


@pytest.mark.parametrize("handler", ["of Python", "of a library"])
def test_a_real_interrupt_is_none_of_the_policy_s_faults(handler: str, module: Module) -> None:
    """The handler of asyncio, for one, raises KeyboardInterrupt by a statement of its own."""
    made: dict[str, Any] = {}
    library = f"{os.sep}site-packages{os.sep}loops.py"
    exec(compile("def handle(number, frame):\n    raise KeyboardInterrupt", library, "exec"), made)
    before = signal.signal(signal.SIGINT, made["handle"] if handler == "of a library" else signal.default_int_handler)
    name = module(HEAD + SCHEDULE + "\n        while True: pass\n")
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        served(f"{name}:X")
    timer.join()
    signal.signal(signal.SIGINT, before)
