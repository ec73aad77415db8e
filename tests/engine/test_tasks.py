"""A task of a loader's own goes through the drivers and the worker, which know nothing of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from loaders.echo import SPEC as ECHO
from loaders.text.media_mark import MEDIA_MARK
from modules.drivers.connect import connect
from modules.drivers.pipe import PipeEngine
from modules.errors import EngineError, Unsupported
from modules.generation.embeddings import run_task
from modules.models.model_file import ModelFile
from modules.tasks import EMBED, EmbedRequest, Task
from tests.engine.making import worker
from tests.engine.translating_loader import SPEC, TRANSLATE, TranslateRequest
from tests.engine_stand_in import Lender, StandIn

pytestmark = pytest.mark.anyio


async def test_a_new_task_needs_its_row_and_its_loader_only(tmp_path: Path) -> None:
    process = worker(tmp_path, SPEC)
    engine = connect(process, await process.start(), SPEC)
    assert await engine.call(TRANSLATE, TranslateRequest("the blue sea", "de")) == "das blue Meer"
    with pytest.raises(Unsupported, match="does not offer embeddings"):
        await engine.call(EMBED, EmbedRequest(("x",)))
    await process.stop()


async def test_a_task_an_engine_does_not_have_is_refused_before_it_is_asked(tmp_path: Path) -> None:
    process = worker(tmp_path)
    engine = connect(process, await process.start(), ECHO)
    with pytest.raises(Unsupported, match="does not offer translate"):
        await engine.call(TRANSLATE, TranslateRequest("the sea", "de"))
    await process.stop()


async def test_an_answer_that_cannot_be_read_is_the_engines_error(tmp_path: Path) -> None:
    process = worker(tmp_path, SPEC)
    engine = connect(process, await process.start(), SPEC)
    wrong = Task("translate", "", "", TranslateRequest, lambda found: str(found["translation"]))
    with pytest.raises(EngineError, match="not readable"):
        await engine.call(wrong, TranslateRequest("the sea", "de"))
    await process.stop()


async def test_marks_for_images_in_a_request_do_not_reach_the_worker(tmp_path: Path) -> None:
    process = worker(tmp_path, SPEC)
    engine = connect(process, await process.start(), SPEC)
    assert isinstance(engine, PipeEngine)
    assert MEDIA_MARK not in await engine.call(TRANSLATE, TranslateRequest(f"the {MEDIA_MARK} sea", "de"))
    await process.stop()


async def test_a_task_with_a_feature_of_its_own_is_refused_where_the_model_lacks_it() -> None:
    async def files() -> list[ModelFile]:
        return []

    speak = Task("speak", "speech", "speech", TranslateRequest, str)
    with pytest.raises(Unsupported, match="does not offer speech"):
        await run_task(Lender(StandIn()), None, speak, TranslateRequest("x", "de"), files)
