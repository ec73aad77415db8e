"""Running other programs: a long one with its output followed, or a short question with an answer."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

TAIL_LINES = 120
TOLD_LINES = 8
TOLD_COLUMNS = 240
# pip's lines that say nothing about why it failed, and would push out those that do.
NOISE = ("WARNING: Location", "WARNING: Retrying", "INFO: pip is looking", "Looking in ", "[notice]")
# What pip wraps around the output of a build that failed.
WRAPPING = (
    "error: subprocess-exited-with-error", "× ", "│ ", "╰─>", "[end of output]", "note: This ", "full command: ",
    "cwd: ", "Installing build dependencies", "Building wheel", "ERROR: Failed building wheel", "Failed to build ",
    "ERROR: Failed to build ", "ERROR: Could not build wheels",
)  # fmt: skip
_CAUSE = re.compile(r"(CMake Error|.*\b(?:fatal )?error:|.*\berror\[|E: )", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a followed program ended: its exit code (negative = killed by that signal) and its last lines."""

    code: int
    tail: tuple[str, ...]

    def telling(self) -> tuple[str, ...]:
        """The lines that are worth showing to a person, shortened: from the first error on, else the last ones."""
        lines = self._plain()
        for number, line in enumerate(lines):
            if _CAUSE.match(line):
                return tuple(lines[number : number + TOLD_LINES])
        return tuple(lines[-TOLD_LINES:])

    def unanswered(self) -> bool:
        """Whether pip tried again and again because a package index did not answer."""
        return any(line.startswith("WARNING: Retrying") for line in self.tail)

    def cause(self) -> str:
        """The first error in one line, the last line where there is none."""
        lines = self.telling()
        return lines[0] if lines and _CAUSE.match(lines[0]) else self.last()

    def last(self) -> str:
        """The last line that says something, or the exit code where the program said nothing."""
        lines = self._plain()
        return lines[-1] if lines else f"exit code {self.code}"

    def _plain(self) -> list[str]:
        """The lines without the noise; without what pip says about a failed build, where more than that is left."""
        lines = [line[:TOLD_COLUMNS] for line in self.tail if not line.startswith(NOISE)]
        return [line for line in lines if not line.startswith(WRAPPING)] or lines


@dataclass(frozen=True, slots=True)
class Answer:
    """What a short command said. `ok` is False where it could not be run, failed, or took too long."""

    ok: bool
    text: str
    code: int = 0


Ask = Callable[[Sequence[str]], Answer]


def ask(command: Sequence[str], *, timeout: float = 10.0, env: Mapping[str, str] | None = None) -> Answer:
    """Run a short command and give back what it printed; never raises for a command that fails.

    On success `text` is standard output, on failure standard error and output together.
    """
    try:
        done = subprocess.run(
            list(command), stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout,
            env=None if env is None else dict(env), check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return Answer(False, str(error), -1)
    out = done.stdout.decode("utf-8", "replace")
    if done.returncode == 0:
        return Answer(True, out)
    return Answer(False, (done.stderr.decode("utf-8", "replace") + out).strip(), done.returncode)


def follow(
    command: Sequence[str],
    *,
    on_line: Callable[[str], None],
    on_wait: Callable[[float], None] = lambda seconds: None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    cwd: Path | None = None,
) -> Ended:
    """Run a program to its end, handing each line of its output to `on_line` as it comes.

    on_wait  called about once a second of silence with the seconds since the start
    log      the whole output is appended to this file
    Raises OSError where the program cannot be started. Ctrl+C reaches the program too (same terminal);
    it is waited for, so that nothing goes on writing behind the prompt.
    """
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    started = time.monotonic()
    process = subprocess.Popen(
        list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=None if env is None else dict(env), cwd=cwd,
    )  # fmt: skip
    assert process.stdout is not None
    reader = threading.Thread(target=_pump, args=(process.stdout, lines), daemon=True)
    reader.start()
    try:
        with open(log if log is not None else os.devnull, "a", encoding="utf-8") as record:
            record.write("\n$ " + subprocess.list2cmdline(list(command)) + "\n")
            while True:
                try:
                    line = lines.get(timeout=1.0)
                except queue.Empty:
                    on_wait(time.monotonic() - started)
                    continue
                if line is None:
                    break
                record.write(line + "\n")
                if line.strip():
                    tail.append(line.strip())
                    on_line(line)
        return Ended(process.wait(), tuple(tail))
    except BaseException:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
    finally:
        process.stdout.close()


def _pump(stream: IO[bytes], lines: queue.SimpleQueue[str | None]) -> None:
    try:
        for raw in stream:
            # A carriage return redraws a progress bar: only the last state matters.
            lines.put(raw.decode("utf-8", "replace").rstrip("\r\n").rsplit("\r", 1)[-1])
    except ValueError:
        # The stream was closed under us because the caller gave up: nothing left to report.
        lines.put(None)
        return
    lines.put(None)
