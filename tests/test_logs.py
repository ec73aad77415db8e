"""Logs are readable on the console, complete in the file, and never hold a key."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modules.logs import FILE_NAME, MASK, Logs, masked, setup
from modules.version import VERSION

log = logging.getLogger("enginehouse.test")


class Console(io.StringIO):
    """What a person would see, as lines."""

    @property
    def lines(self) -> list[str]:
        return self.getvalue().splitlines()


@pytest.fixture
def console() -> Console:
    return Console()


@pytest.fixture
def logs(tmp_path: Path, console: Console) -> Iterator[Logs]:
    before = logging.getLogger().level
    made = setup(tmp_path, "info", lambda: ["s3cret-key"], console)
    yield made
    made.close()
    logging.getLogger().setLevel(before)


def written(logs: Logs) -> str:
    assert logs.file is not None
    return logs.file.read_text("utf-8")


def test_importing_the_module_sets_nothing_up() -> None:
    code = "import logging, modules.logs; assert not logging.getLogger().handlers"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, check=True, timeout=30)


def test_the_console_is_short_and_the_file_is_complete(logs: Logs, console: Console) -> None:
    log.info("The model is loaded.")
    log.warning("The port is taken.")
    assert console.lines[0].endswith("  The model is loaded.")
    assert console.lines[1].endswith("  Warning: The port is taken.")
    assert "INFO enginehouse.test: The model is loaded." in written(logs)


def test_the_file_begins_with_what_a_report_of_a_fault_needs(logs: Logs, console: Console) -> None:
    first = written(logs).splitlines()[0]
    assert f"Enginehouse {VERSION}, Python 3" in first
    assert console.getvalue() == ""


def test_a_traceback_is_one_line_on_the_console_and_whole_in_the_file(logs: Logs, console: Console) -> None:
    try:
        raise ValueError("no such thing")
    except ValueError:
        log.exception("A request failed.")
    (line,) = console.lines
    assert "ValueError: no such thing" in line
    assert FILE_NAME in line
    assert "Traceback" in written(logs)
    assert 'raise ValueError("no such thing")' in written(logs)


def test_at_debug_the_console_shows_the_traceback_too(logs: Logs, console: Console) -> None:
    logs.set_level("debug")
    try:
        raise ValueError("x")
    except ValueError:
        log.exception("Failed.")
    assert "Traceback" in console.getvalue()


def test_a_known_key_is_masked_everywhere_tracebacks_included(logs: Logs, console: Console) -> None:
    log.warning("the key is %s", "s3cret-key")
    try:
        raise ValueError("bad key s3cret-key")
    except ValueError:
        log.exception("request with s3cret-key failed")
    for text in (console.getvalue(), written(logs)):
        assert "s3cret" not in text
        assert MASK in text


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer sk-abcdefgh12345678", "sk-abcdefgh12345678"),
        ("authorization: bearer abcdefgh.12345678", "abcdefgh.12345678"),
        ("GET /x?api_key=abcdefgh12345678&n=1", "abcdefgh12345678"),
        ('{"api_key": "abcdefgh12345678"}', "abcdefgh12345678"),
        ("x-api-key: abcdefgh12345678", "abcdefgh12345678"),
        ("{'password': 'correcthorse'}", "correcthorse"),
    ],
)
def test_what_stands_where_keys_stand_is_masked_though_it_is_unknown(text: str, secret: str) -> None:
    assert secret not in masked(text)
    assert MASK in masked(text)


@pytest.mark.parametrize(
    "text", ["The api_key setting is empty.", "Set an API key with --api-key", "tokens: 12345678", "secretary of state"]
)
def test_ordinary_sentences_stay_as_they_are(text: str) -> None:
    assert masked(text) == text


def test_a_key_set_later_is_masked_too(tmp_path: Path, console: Console) -> None:
    keys: list[str] = []
    made = setup(tmp_path, "info", lambda: keys, console)
    try:
        keys.append("made-at-the-start")
        log.warning("using made-at-the-start")
    finally:
        made.close()
    assert "made-at" not in console.getvalue()


def test_a_message_cannot_pose_as_another_line_or_move_the_cursor(logs: Logs, console: Console) -> None:
    log.warning("bad name %s", "x\n2026-01-01 ERROR all is lost\x1b[2J\r")
    for text in (console.getvalue(), written(logs)):
        assert "\x1b" not in text
        assert "\n2026-01-01 ERROR" not in text
        assert "\\x1b[2J\\x0d" in text


def test_the_level_can_change_while_the_program_runs(logs: Logs, console: Console) -> None:
    log.debug("one")
    logs.set_level("debug")
    log.debug("two")
    logs.set_level("error")
    log.warning("three")
    assert [line.split("  ")[1] for line in console.lines] == ["two"]


def test_chatter_of_libraries_is_left_out_and_their_warnings_are_not(logs: Logs, console: Console) -> None:
    logging.getLogger("httpx").info("HTTP Request: GET")
    logging.getLogger("uvicorn.error").info("Started server process")
    logging.getLogger("httpx").warning("slow")
    assert len(console.lines) == 1
    assert "slow" in console.lines[0]


def test_the_file_rotates_and_few_are_kept(logs: Logs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert logs.file_handler is not None
    monkeypatch.setattr(logs.file_handler, "maxBytes", 2000)
    for number in range(300):
        log.info("line %d %s", number, "x" * 50)
    files = sorted(tmp_path.glob(f"{FILE_NAME}*"))
    assert 2 <= len(files) <= 5
    assert "line 299" in written(logs)


def test_without_a_place_for_the_file_the_console_still_works(tmp_path: Path, console: Console) -> None:
    (tmp_path / "file").write_text("")
    made = setup(tmp_path / "file", "info", tuple, console)
    try:
        log.info("still here")
    finally:
        made.close()
    assert made.file is None
    assert "no log file" in console.lines[0]
    assert "still here" in console.lines[1]


def test_a_full_disk_is_said_once(
    logs: Logs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    assert isinstance(logs.file_handler, logging.FileHandler)
    monkeypatch.setattr(logs.file_handler, "stream", Full())
    log.info("one")
    log.info("two")
    assert capsys.readouterr().err.count("cannot be written") == 1
