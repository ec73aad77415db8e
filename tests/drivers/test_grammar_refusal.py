"""A grammar that the engine logs as not usable is refused, instead of text that nobody constrains."""

from __future__ import annotations

from pathlib import Path

import pytest

from modules.drivers.grammar_refusal import GrammarRefusal
from modules.engine.worker_log import WorkerLog
from modules.errors import BadParameter
from modules.types import GenerationRequest

REFUSED = b"0.01.581.184 E llg error: lexer precomputation failed\n"


def test_what_the_engine_logs_about_this_request_is_told(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path / "engine.log")
    log.path.write_bytes(REFUSED)
    request = GenerationRequest("r", prompt="x", json_schema={})
    GrammarRefusal(request, log).check()
    watch = GrammarRefusal(request, log)
    with log.path.open("ab") as file:
        file.write(b"0.01.581.100 I slot launch_slot_\n" + REFUSED)
    with pytest.raises(BadParameter, match="lexer precomputation failed") as caught:
        watch.check()
    assert (caught.value.code, caught.value.param) == ("grammar_not_enforced", "response_format")
    later = GrammarRefusal(request, log)
    later.check()
    with log.path.open("ab") as file:
        file.write(REFUSED)
    with pytest.raises(BadParameter):
        later.check()


def test_a_request_without_a_grammar_does_not_look(tmp_path: Path) -> None:
    log = WorkerLog(tmp_path / "engine.log")
    watch = GrammarRefusal(GenerationRequest("r", prompt="x"), log)
    log.path.write_bytes(REFUSED)
    watch.check()
    GrammarRefusal(GenerationRequest("r", prompt="x", grammar="g"), None).check()
