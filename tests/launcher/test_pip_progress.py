"""What is shown while pip, uv and the compilers behind them work."""

from __future__ import annotations

from modules.launcher.pip_progress import PipProgress


def shown(*lines: str) -> str:
    progress = PipProgress()
    for line in lines:
        progress.take(line)
    return progress.text


def test_packages_are_counted_while_they_are_looked_for() -> None:
    assert shown("Looking in indexes: x") == "starting"
    lines = ("Collecting torch>=2 (from -r a.txt (line 2))", "  Downloading torch-2.13.0.whl (190 MB)")
    assert shown(*lines) == "1 packages, Downloading torch-2.13.0.whl (190 MB)"
    assert shown(*lines, "Collecting numpy (from torch)") == "2 packages, Collecting numpy"


def test_a_build_shows_how_many_steps_are_done() -> None:
    begun = ("Collecting x", "  Building wheel for x (pyproject.toml): started", "  [12/193] /usr/bin/g++ -c a.cpp")
    assert shown(*begun) == "compiling: step 12 of 193"
    # What the project says meanwhile, and a compiler's warning, do not hide it.
    assert shown(*begun, "  Building CXX object", "  a.cpp:1: warning: odd") == "compiling: step 12 of 193"
    assert shown("  [  6%] Building CXX object a.o") == "compiling: 6 %"
    assert shown(*begun, "Installing collected packages: x") == "1 packages, Installing collected packages"
