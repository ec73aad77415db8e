"""Starts a program that ends with whoever started this: `python parent_watch.py PARENT-PID PROGRAM ARGUMENTS…`.

Linux: the kernel ends it, and this becomes the program. Elsewhere this stays between, and ends it when its own stdin
closes. It is run as a file of its own, so that it imports nothing of ours and is there at once.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import subprocess
import sys
import threading

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """See the module."""
    parent, words = int(sys.argv[1]), sys.argv[2:]
    if platform.system() == "Linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the call
            sys.exit(1)
        os.execv(words[0], words)
    child = subprocess.Popen(words, stdin=subprocess.DEVNULL)

    def watch() -> None:
        sys.stdin.buffer.read()
        child.kill()

    threading.Thread(target=watch, daemon=True).start()
    code = child.wait()
    os._exit(code if code >= 0 else 1)


if __name__ == "__main__":
    main()
