"""When a device has no memory left, or fails: whoever waits is told, and the others go on."""

from __future__ import annotations

import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from modules.types import Chunk, GenerationRequest, Text
from tests.engine.making import ask, done_of, failed_of
from tests.loaders.hf_folder import hf_folder, needs_folder
from tests.loaders.tiny_models import answer, load_here, make_llama

__all__ = ["hf_folder"]
pytestmark = [*needs_folder, pytest.mark.timeout(60)]
LONG = ask("A long reply", params={"max_tokens": 300, "ban_eos_token": True, "seed": 1})


@pytest.fixture(scope="module")
def engine(hf_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = make_llama(tmp_path_factory.mktemp("models") / "tiny", hf_folder)
    backend = load_here(folder, folder, batch_size=32)
    yield backend
    backend.close()


def until(backend: Any, request: GenerationRequest, begun: Event, enough: Event) -> list[Chunk]:
    """A reply that is cancelled when that is enough."""
    out: list[Chunk] = []
    for chunk in backend.generate(request, enough.is_set):
        out.append(chunk)
        if isinstance(chunk, Text):
            begun.set()
    return out


def test_a_cancelled_reply_whose_prompt_cannot_be_kept_for_want_of_memory_harms_nobody(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from loaders.hf.cache import SharedCache

    def short(self: Any, *arguments: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(SharedCache, "copy", short)
    enough, never, begun, other_begun = Event(), Event(), Event(), Event()
    with ThreadPoolExecutor(2) as pool:
        other = pool.submit(until, engine, LONG, other_begun, never)
        assert other_begun.wait(20)
        cancelled = pool.submit(until, engine, LONG, begun, enough)
        assert begun.wait(20)
        enough.set()
        assert done_of(cancelled.result(20)).reason == "cancelled"
        assert done_of(other.result(30)).stats.completion_tokens == 300


def test_a_cancelled_reply_ends_though_a_card_that_failed_does_not_give_its_line_out(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from loaders.hf.cache import SharedCache

    def broken(self: Any, *arguments: Any) -> Any:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(SharedCache, "leave", broken)
    enough, begun = Event(), Event()
    with ThreadPoolExecutor(1) as pool:
        cancelled = pool.submit(until, engine, LONG, begun, enough)
        assert begun.wait(20)
        enough.set()
        assert done_of(cancelled.result(20)).reason == "cancelled"


def test_a_card_that_refuses_everything_is_told_and_the_next_request_too(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def broken(*arguments: Any) -> Any:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(type(engine._scheduler._forward), "__call__", broken)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", broken)
    for _ in range(2):
        assert "device-side assert" in failed_of(answer(engine, ask("Hello"))).error["message"]
    monkeypatch.undo()
    assert done_of(answer(engine, ask("Hello", params={"max_tokens": 2}))).stats.completion_tokens


def test_mixes_of_adapters_that_are_not_running_leave_nothing_behind(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for share in range(5):
        mix = (("tales", share / 8),)
        monkeypatch.setattr(type(engine._switch), "wanted", lambda self, asked, mix=mix: mix)
        answer(engine, ask("Hello", params={"max_tokens": 2, "ban_eos_token": True}))
    assert len(engine._scheduler._groups) <= 1


def test_a_long_prompt_is_read_on_while_short_ones_keep_coming() -> None:
    from loaders.hf.scheduler import next_to_read

    long, short = (types.SimpleNamespace(parts=[types.SimpleNamespace(left=left)]) for left in (5000, 10))
    rows: list[Any] = [long, short]
    assert [next_to_read(rows, number) for number in (1, 2, 3, 4)] == [short, long, short, long]
