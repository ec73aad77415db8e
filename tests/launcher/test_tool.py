"""Which lines of a failed program's output are shown to a person."""

from __future__ import annotations

from modules.launcher.tool import TOLD_LINES, Ended

# The end of pip's output for a build that did not configure, shortened.
FAILED_BUILD = (
    "-- Configuring done",
    "CMake Error in ggml-cuda/CMakeLists.txt:",
    'CUDA_ARCHITECTURES is set to "native", but no GPU was detected.',
    "*** CMake configuration failed",
    "error: subprocess-exited-with-error",
    "× Building wheel for llama-cpp-python (pyproject.toml) did not run successfully.",
    "│ exit code: 1",
    "╰─> See above for output.",
    "note: This error originates from a subprocess, and is likely not a problem with pip.",
    "full command: /x/python /x/_in_process.py build_wheel /tmp/x",
    "cwd: /tmp/x",
    "Building wheel for llama-cpp-python (pyproject.toml): finished with status 'error'",
    "ERROR: Failed building wheel for llama-cpp-python",
    "Failed to build llama-cpp-python",
    "ERROR: Failed to build one or more wheels",
)


def test_of_a_failed_build_the_compilers_error_is_shown_and_not_what_pip_says_about_it() -> None:
    ended = Ended(1, FAILED_BUILD)
    assert ended.telling() == FAILED_BUILD[1:4]
    assert ended.last() == "*** CMake configuration failed"
    assert ended.cause() == FAILED_BUILD[1]


def test_what_follows_the_first_error_is_shown_up_to_a_few_lines() -> None:
    ended = Ended(1, ("ok", "a.cpp:3:1: fatal error: x.h: No such file", *(f"line {number}" for number in range(50))))
    assert ended.telling()[0].startswith("a.cpp")
    assert len(ended.telling()) == TOLD_LINES


def test_without_an_error_the_last_lines_are_shown() -> None:
    assert Ended(1, tuple(f"line {number}" for number in range(50))).telling()[-1] == "line 49"
    assert Ended(7, ("a", "b")).cause() == "b"
    assert Ended(7, ()).cause() == "exit code 7"


def test_where_pip_says_nothing_but_that_the_build_failed_that_is_shown() -> None:
    assert Ended(1, FAILED_BUILD[-1:]).telling() == FAILED_BUILD[-1:]
