"""A task of a loader's own goes through the drivers and the worker, which know nothing of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from loaders.echo import SPEC as ECHO
from modules.drivers.connect import connect
from modules.errors import Unsupported
from modules.tasks import EMBED, EmbedRequest
from tests.engine.making import worker
from tests.engine.translating_loader import SPEC, TRANSLATE, TranslateRequest

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
