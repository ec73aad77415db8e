"""What pip and uv are doing, read from their output as it comes."""

from __future__ import annotations

import re

_FETCH = re.compile(r"\s*(?:Collecting|Downloading|Downloaded|Building|Processing|Using cached)\s+(.+)")
# ninja and make, as pip hands them on when it is verbose: "[12/193] …", "[ 6%] …".
_COMPILE = re.compile(r"\s*\[\s*(?:(\d+)/(\d+)|(\d+)%)\]")


class PipProgress:
    """Takes line after line; `text` is what to show now."""

    def __init__(self) -> None:
        self._packages = 0
        self._doing = "starting"
        self._compiling = False

    def take(self, line: str) -> None:
        """Note one line of output. Lines that tell nothing leave the text as it is."""
        if line.startswith("Collecting "):
            self._packages += 1
        if step := _COMPILE.match(line):
            done, whole, percent = step.groups()
            self._doing = f"compiling: {percent} %" if percent else f"compiling: step {done} of {whole}"
            self._compiling = True
        elif line.startswith(("Installing collected packages", "Prepared ", "Resolved ")):
            self._doing = line.split(":")[0].strip()
            self._compiling = False
        elif _FETCH.match(line) and not (self._compiling and line.startswith(" ")):
            # Indented lines among the compiler's are the project's own talk.
            self._doing = line.strip().split(" (from ")[0]
            self._compiling = False

    @property
    def text(self) -> str:
        if self._packages and not self._compiling:
            return f"{self._packages} packages, {self._doing}"
        return self._doing
