"""Stands between a worker and the server it started, so that the server and all its children end with the worker.

Run as a file: `python parent_watch.py PARENT PROGRAM ARGUMENT…`. Standard library only, and nothing of this program: it
is small and has nothing to do with the environment of the server. It ends as its child ended; when its parent has gone,
it kills the whole process group, which holds one model's processes and nothing else.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from types import FrameType

LOOK = 1.0
"""Seconds between two looks at the parent, where the kernel does not tell of its end."""


def _kill_all(number: int = 0, frame: FrameType | None = None) -> None:
    os.killpg(0, signal.SIGKILL)


def _told_by_the_kernel() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGUSR1)  # PR_SET_PDEATHSIG


def main(parent: int, command: list[str]) -> int:
    """Run `command` to its end."""
    signal.signal(signal.SIGUSR1, _kill_all)
    _told_by_the_kernel()
    if os.getppid() != parent:
        _kill_all()
    try:
        child = subprocess.Popen(command)
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}", file=sys.stderr)
        return 127
    while True:
        try:
            code = child.wait(LOOK)
            break
        except subprocess.TimeoutExpired:
            if os.getppid() != parent:
                _kill_all()
    if code < 0:  # end by the same signal, so that whoever looks sees it
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
