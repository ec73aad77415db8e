"""A computed prompt written to disk by llama-server, and read again: `POST /slots/{id}?action=save|restore`.

The folder is the loader's, one for each model in each form (loaders/llama/launch.py): a prompt of another model would
be taken for one of its own. What stands in a slot is only known where nobody else asks the server. The server writes
under a name of its own first; what all saved prompts may take is kept by modules/disk/slot_files.py.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from modules.disk.slot_files import Claim, Writing, reading, tidy
from modules.drivers.slots import Prompt, Slots
from modules.errors import BadParameter, EngineCrashed, EngineError, NotReady

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_TRIES = 3
T = TypeVar("T")

TIMEOUT = 3600.0
"""Seconds for computing a long prompt, and for writing or reading gigabytes of it; whoever asks may hang up before."""

Ask = Callable[[str, Any], Awaitable[Any]]
"""`ask(path, body)`: the answer to a POST. Raises EngineError or a BadRequest."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one engine's prompts are saved: the folder it writes to, and the model file they belong to."""

    folder: Path
    model: str


async def save(ask: Ask, slots: Slots, place: Place, name: str, prompt: Prompt) -> int:
    """Have the prompt computed where it is not yet, and write it; gives its tokens.

    Raises BadParameter, NotReady while that name is in use, StorageError when not all of it could be written; then
    nothing is left of it. Prompts used longest ago make room.
    """
    root, file = place.folder.parent, place.folder / f"{_checked(name)}.slot"
    await asyncio.to_thread(_tidy, root, file)
    writing = await _ended(lambda: Writing(place.folder, name, place.model), Writing.close)
    try:
        tokens, size = await _written(ask, slots, writing, prompt)
        await _ended(lambda: writing.finish(size))
    finally:
        await _ended(writing.close)
    await asyncio.to_thread(_tidy, root, file)
    return tokens


async def restore(ask: Ask, slots: Slots, place: Place, name: str, prompt: Prompt) -> int:
    """Put a saved prompt into an idle slot; `prompt` is what was saved. Gives its tokens. Raises NotFound."""
    wanted = _checked(name)
    claim = await _ended(lambda: reading(place.folder, wanted), Claim.release)
    try:
        slot = slots.spare()
        if slot is None:
            raise NotReady("All places of the engine are in use.", hint="Try again when a reply has ended.")
        slots.holds(slot, "")
        restored = await ask(f"/slots/{slot}?action=restore", {"filename": claim.path.name})
        slots.holds(slot, prompt)
        return int(restored["n_restored"])
    finally:
        claim.release()


async def _written(ask: Ask, slots: Slots, writing: Writing, prompt: Prompt) -> tuple[int, int]:
    """Have the server compute the prompt and write its part file: the tokens, and the bytes it says it wrote."""
    for _ in range(_TRIES):
        place = slots.ask(prompt)
        body: dict[str, Any] = {"prompt": list(prompt) if isinstance(prompt, tuple) else prompt, "n_predict": 0,
                                "cache_prompt": True}  # fmt: skip
        if place.wanted is not None:
            body["id_slot"] = place.wanted
        known = False
        try:
            computed = await ask("/completion", body)
            slot = int(computed["id_slot"])
            slots.started(place)
            slots.found(place, slot)
            known = True
        finally:
            slots.ended(place, "", known=known)
        try:
            saved = await ask(f"/slots/{slot}?action=save", {"filename": writing.part})
        except EngineCrashed:
            raise
        except EngineError as error:
            _log.warning("the engine did not save a prompt: %s", error.message)
            raise await asyncio.to_thread(writing.refused) from error
        if int(saved["n_saved"]) >= int(computed["tokens_evaluated"]):
            return int(saved["n_saved"]), int(saved["n_written"])
        # Another request began between the two, and the server put the prompt aside: once more.
    raise EngineError("The prompt could not be saved, because other requests took its place.", hint="Try again.")


async def _ended(work: Callable[[], T], give_back: Callable[[T], None] = lambda _: None) -> T:
    """What `work` gives, in a thread. A cancel is passed on only when it is over, so that nothing goes on behind what
    comes next; what it made is given back then, or a file would be held for as long as this program runs."""
    running = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        if not running.cancelled() and running.exception() is None:
            give_back(running.result())
        raise


def _tidy(root: Path, keep: Path) -> None:
    """Keep the limit, and say what was deleted for it."""
    if said := str(tidy(root, keep)):
        _log.info(said)


def _checked(name: str) -> str:
    """A name that is no path, and not one of the files beside the states."""
    if not _NAME.fullmatch(name):
        raise BadParameter(
            f"{name!r} is no name for a saved prompt: letters, digits, - and _, at most 64.", param="name"
        )
    return name
