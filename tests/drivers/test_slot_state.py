"""Prompts that are saved and read back: what a cancel in the middle leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from modules.disk import slot_files
from modules.disk.slot_files import Writing
from modules.drivers import slot_state
from modules.drivers.slot_state import Place, restore, save
from modules.drivers.slots import Slots
from modules.errors import NotReady

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    model = tmp_path / "model.gguf"
    model.write_bytes(b"weights")
    return Place(tmp_path / "slots" / "form", str(model))


def engine_of(place: Place) -> Callable[[str, Any], Any]:
    """Does what llama-server does with a slot."""

    async def ask(path: str, body: Any) -> Any:
        if path == "/completion":
            return {"id_slot": 0, "tokens_evaluated": 3}
        if path.endswith("save"):
            (place.folder / body["filename"]).write_bytes(b"state")
            return {"n_saved": 3, "n_written": 5}
        return {"n_restored": 3}

    return ask


class Halt:
    """Stands still in a thread after the work, until it may go on."""

    def __init__(self, work: Callable[..., Any]) -> None:
        self.work, self.there, self.on = work, Event(), Event()

    def __call__(self, *arguments: Any) -> Any:
        found = self.work(*arguments)
        self.there.set()
        assert self.on.wait(30)
        return found

    @contextlib.asynccontextmanager
    async def cancelled(self, work: Any) -> AsyncIterator[None]:
        """The work is cancelled where it stands still; it goes on behind the block."""
        task = asyncio.create_task(work)
        try:
            assert await asyncio.to_thread(self.there.wait, 20)
            for _ in range(2):  # a second cancel changes nothing
                task.cancel()
                await asyncio.sleep(0.01)
            yield
        finally:
            self.on.set()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_cancel_while_a_prompt_is_taken_for_reading_leaves_it_to_others(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await save(engine_of(place), Slots(1, kept=True), place, "tale", "Once") == 3
    halt = Halt(slot_state.reading)
    monkeypatch.setattr(slot_state, "reading", halt)
    async with halt.cancelled(restore(engine_of(place), Slots(1, kept=True), place, "tale", "Once")):
        pass
    Writing(place.folder, "tale", place.model).close()  # raises NotReady while anybody holds it


async def test_a_cancel_while_a_prompt_is_taken_for_writing_leaves_it_to_others(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Writing._begin
    halt = Halt(begin)
    monkeypatch.setattr(Writing, "_begin", lambda self, part: halt(self, part))
    async with halt.cancelled(save(engine_of(place), Slots(1, kept=True), place, "tale", "Once")):
        pass
    monkeypatch.setattr(Writing, "_begin", begin)
    assert not list(place.folder.glob("*.part"))
    Writing(place.folder, "tale", place.model).close()


async def test_a_cancel_while_a_prompt_reaches_the_disk_does_not_let_another_write_under_its_name(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    halt = Halt(os.fsync)
    monkeypatch.setattr(slot_files.os, "fsync", halt)
    async with halt.cancelled(save(engine_of(place), Slots(1, kept=True), place, "tale", "Once")):
        with pytest.raises(NotReady):  # its half would get the name of the first one, which is whole
            Writing(place.folder, "tale", place.model)
    assert (place.folder / "tale.slot").read_bytes() == b"state"
    assert not list(place.folder.glob("*.part"))
