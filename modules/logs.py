"""What the program says about itself: short on the console, complete in a rotating file, never a key.

Nothing is set up at import; `setup` is called once by server.py.
"""

from __future__ import annotations

import logging
import platform
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO

from modules.version import VERSION

FILE_NAME = "server.log"
MAX_BYTES = 2 * 1024 * 1024
KEPT_FILES = 4
MASK = "[hidden]"
_SHORTEST_SECRET = 4  # masking shorter ones would mask half the log
# Libraries that tell more than a person at the console wants to know; warnings of theirs still come through.
_NOISY = (
    "uvicorn",
    "asyncio",
    "httpx",
    "httpcore",
    "gradio",
    "websockets",
    "urllib3",
    "watchfiles",
    "PIL",
    "matplotlib",
)
# Where keys stand in headers, addresses and JSON, for keys that are not known to us (another server's).
_KEY_PLACES = re.compile(
    r"""((?:authorization|bearer|x-api-key|api[_-]?key|access[_-]?token|password|cookie|secret)["']?\s*[:=]?\s*["']?"""
    r"""(?:bearer\s+)?)(?<=[:=\s"'])([A-Za-z0-9._~+/=-]{8,})""",
    re.IGNORECASE,
)
_CONTROL = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    for code in (*range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}  # signs that move the cursor or turn the writing direction

Hidden = Callable[[], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Logs:
    """The handlers that `setup` put in place.

    file  the log file; None when it cannot be written
    """

    console: logging.Handler
    file_handler: logging.Handler | None
    file: Path | None

    def set_level(self, level: str) -> None:
        """Change how much is told: "debug", "info", "warning", "error"."""
        number = _number(level)
        logging.getLogger().setLevel(number)
        for name in _NOISY:
            logging.getLogger(name).setLevel(logging.DEBUG if number <= logging.DEBUG else logging.WARNING)
        if isinstance(self.console.formatter, _ConsoleFormatter):
            self.console.formatter.whole = number <= logging.DEBUG

    def close(self) -> None:
        """Take the handlers away again."""
        logging.captureWarnings(False)
        for handler in (self.console, self.file_handler):
            if handler is not None:
                logging.getLogger().removeHandler(handler)
                handler.close()


def setup(folder: Path, level: str = "info", hidden: Hidden = tuple, stream: TextIO | None = None) -> Logs:
    """Log to the console and to `folder`/server.log. A folder that cannot be written is said and gone without.

    Args:
        folder: where the file goes
        level: "debug", "info", "warning" or "error"
        hidden: gives the secrets of this moment; asked for every line, so a key set later is masked too
        stream: the console; None = stderr
    """
    console = logging.StreamHandler(stream or sys.stderr)
    console.setFormatter(_ConsoleFormatter(hidden, folder / FILE_NAME))
    root = logging.getLogger()
    root.addHandler(console)
    file_handler: logging.Handler | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file_handler = _LogFile(folder / FILE_NAME)
        file_handler.setFormatter(_FileFormatter(hidden))
        root.addHandler(file_handler)
    except OSError as error:
        root.warning("There is no log file: %s cannot be written (%s).", folder / FILE_NAME, error.strerror or error)
    logging.captureWarnings(True)
    if file_handler is not None:  # what every report of a fault needs first
        where = f"Enginehouse {VERSION}, Python {platform.python_version()}, {platform.platform()}"
        file_handler.handle(logging.makeLogRecord({"name": __name__, "levelname": "INFO", "msg": where}))
    logs = Logs(console, file_handler, folder / FILE_NAME if file_handler else None)
    logs.set_level(level)
    return logs


def masked(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without the secrets given and without what stands where keys stand."""
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, MASK)
    return _KEY_PLACES.sub(rf"\1{MASK}", text)


def _number(level: str) -> int:
    return logging.getLevelNamesMapping().get(level.upper(), logging.INFO)


class _Formatter(logging.Formatter):
    """Masks keys in everything, tracebacks too; a message with line breaks cannot pose as further lines."""

    def __init__(self, hidden: Hidden, fmt: str, datefmt: str) -> None:
        super().__init__(fmt, datefmt)
        self._hidden = hidden

    def format(self, record: logging.LogRecord) -> str:
        text = masked(super().format(record), self._hidden())
        return text.translate(_CONTROL).replace("\n", "\n    ")


class _FileFormatter(_Formatter):
    def __init__(self, hidden: Hidden) -> None:
        super().__init__(hidden, "%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")


class _ConsoleFormatter(_Formatter):
    """Time and message; the level only when it is worth a look; a traceback is one line that names the file."""

    def __init__(self, hidden: Hidden, file: Path) -> None:
        super().__init__(hidden, "%(asctime)s  %(message)s", "%H:%M:%S")
        self._file = file
        self.whole = False

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802, the name logging gives it
        text = super().formatMessage(record)
        if record.levelno < logging.WARNING:
            return text
        time, _, message = text.partition("  ")
        return f"{time}  {record.levelname.capitalize()}: {message}"

    def format(self, record: logging.LogRecord) -> str:
        if self.whole or not record.exc_info:
            return super().format(record)
        # A copy without the traceback; the handler after this one formats the record itself, in full.
        short = logging.makeLogRecord({**record.__dict__, "exc_info": None, "exc_text": None, "stack_info": None})
        error = record.exc_info[1]
        what = f"{type(error).__name__}: {error}" if error is not None else ""
        short.msg, short.args = f"{record.getMessage()} ({what}; details in {self._file.name})", None
        return super().format(short)


class _LogFile(RotatingFileHandler):
    """A log file whose own trouble (a full disk) is said once instead of with every line."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=MAX_BYTES, backupCount=KEPT_FILES, encoding="utf-8", errors="backslashreplace")
        self._told = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, the name logging gives it
        if not self._told:
            self._told = True
            reason = sys.exc_info()[1]
            print(f"The log file cannot be written: {reason}. The program goes on without it.", file=sys.stderr)
