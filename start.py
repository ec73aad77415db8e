"""The one command: `python3 start.py` installs what is missing and starts Enginehouse.

This file has to be understood by any Python 3, however old, so that a wrong version is told in words
and not by a syntax error. All the rest is in modules/launcher, which needs nothing beyond the
standard library of Python 3.11.
"""

import os
import subprocess
import sys

NEEDED = (3, 11)


def better_pythons():
    """Names of new enough interpreters on PATH that do run, newest first."""
    found = []
    for minor in range(19, NEEDED[1] - 1, -1):
        name = "python3." + str(minor)
        for folder in os.environ.get("PATH", "").split(os.pathsep):
            path = os.path.join(folder, name)
            if os.access(path, os.X_OK):
                # The first one on PATH is what the person's shell would take.
                if runs(path):
                    found.append(name)
                break
    return found


def runs(path):
    """Whether this is an interpreter: pyenv and others leave stand-ins on PATH that run nothing."""
    with open(os.devnull, "r+") as nothing:
        try:
            return subprocess.call([path, "-c", ""], stdin=nothing, stdout=nothing, stderr=nothing) == 0
        except OSError:
            return False


def refuse_old_python():
    """Say which Python is needed, and what to type where a good one is already there."""
    have = ".".join(str(part) for part in sys.version_info[:3])
    print("Enginehouse needs Python 3.11 or newer; this is Python " + have + " (" + str(sys.executable) + ").")
    names = better_pythons()
    if names:
        print("This machine has " + names[0] + ". Type:  " + names[0] + " " + " ".join(sys.argv))
    else:
        print("Install a newer Python (your system's package manager has one, or see python.org), then try again.")
    return 2


def main():
    if sys.version_info[:2] < NEEDED:
        return refuse_old_python()
    root = os.path.dirname(os.path.abspath(__file__))
    if root not in sys.path:
        sys.path.insert(0, root)
    try:
        from modules.launcher.main import run

        return run(sys.argv[1:], root)
    except KeyboardInterrupt:
        # Ctrl+C in the middle of an import or of a step: every step can be taken up again.
        print("\nStopped. Start again at any time: what was finished is kept.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
