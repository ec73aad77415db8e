"""A computed prompt written to disk by llama-server, and read again: `POST /slots/{id}?action=save|restore`.

The folder is the loader's, one for each model in each form (loaders/llama/launch.py): a prompt of another model would
be taken for one of its own. What stands in a slot is only known where nobody else asks the server.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

from modules.engine.slots import Prompt, Slots
from modules.errors import BadParameter, EngineError, NotReady

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_TRIES = 3

Ask = Callable[[str, Any], Awaitable[Any]]
"""`ask(path, body)`: the answer to a POST. Raises EngineError or a BadRequest."""


async def save(ask: Ask, slots: Slots, name: str, prompt: Prompt) -> int:
    """Have the prompt computed where it is not yet, and write it; gives its tokens. Raises BadParameter."""
    file = _file(name)
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
        saved = await ask(f"/slots/{slot}?action=save", {"filename": file})
        if int(saved["n_saved"]) >= int(computed["tokens_evaluated"]):
            return int(saved["n_saved"])
        # Another request began between the two, and the server put the prompt aside: once more.
    raise EngineError("The prompt could not be saved, because other requests took its place.", hint="Try again.")


async def restore(ask: Ask, slots: Slots, name: str, prompt: Prompt) -> int:
    """Put a saved prompt into an idle slot; `prompt` is what was saved. Gives its tokens."""
    file = _file(name)
    slot = slots.spare()
    if slot is None:
        raise NotReady("All places of the engine are in use.", hint="Try again when a reply has ended.")
    slots.holds(slot, "")
    restored = await ask(f"/slots/{slot}?action=restore", {"filename": file})
    slots.holds(slot, prompt)
    return int(restored["n_restored"])


def _file(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise BadParameter(
            f"{name!r} is no name for a saved prompt: letters, digits, - and _, at most 64.", param="name"
        )
    return f"{name}.slot"
