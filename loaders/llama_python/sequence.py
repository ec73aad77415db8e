"""What the engine's context holds: one sequence, of which a new prompt keeps the beginning it shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from modules.errors import EngineError

_ABORTED = 2  # llama_decode: the callback asked for it
_NEVER = llama_cpp.ggml_abort_callback()


@dataclass(slots=True)
class Prompt:
    """A prompt, place by place. `slots` has a token for each place in the context; where an image is, a negative
    number that is the same for the same image. `images` = first place → (place behind it, how to compute it)."""

    slots: list[int]
    images: dict[int, tuple[int, Callable[[int], int]]] = field(default_factory=dict)
    tokens: int = 0
    close: Callable[[], None] = lambda: None


@contextmanager
def stopped_by(context: Any, cancelled: Callable[[], bool]) -> Iterator[None]:
    """While this holds, what the context computes ends with _ABORTED soon after `cancelled` turns true."""
    asked = llama_cpp.ggml_abort_callback(lambda _: cancelled())
    llama_cpp.llama_set_abort_callback(context, asked, None)
    try:
        yield
    finally:
        llama_cpp.llama_set_abort_callback(context, _NEVER, None)


class Sequence:
    """The tokens whose keys and values are in the context, and the ways to have more or fewer of them there."""

    def __init__(self, context: Any, batch: int) -> None:
        self._context = context
        self._batch = batch
        self.held: list[int] = []

    def keep(self, prompt: Prompt, fresh: bool) -> int:
        """Drop from the context what is not the beginning of this prompt. Returns how many places stay."""
        same = 0
        if not fresh:
            most = min(len(self.held), len(prompt.slots) - 1)  # the last one is computed: its logits are wanted
            same = next((place for place in range(most) if self.held[place] != prompt.slots[place]), most)
            same = next((first for first, (end, _) in prompt.images.items() if first < same < end), same)
        if same < len(self.held) or not same:
            # A model with a running state cannot go back to a place in the middle.
            if not same or not llama_cpp.llama_memory_seq_rm(self._memory, 0, same, -1):
                llama_cpp.llama_memory_clear(self._memory, True)
                same = 0
            del self.held[same:]
        return same

    def read(self, prompt: Prompt, start: int, cancelled: Callable[[], bool]) -> Iterator[int]:
        """Compute the prompt, a batch or an image at a time; yields how much of it is read. A cancel ends it within
        a batch, not within an image."""
        with stopped_by(self._context, cancelled):
            yield start
            while start < len(prompt.slots) and not cancelled():
                ahead = [first for first in prompt.images if first > start]
                end = min(start + self._batch, len(prompt.slots), *ahead)
                if start in prompt.images:
                    end, compute = prompt.images[start]
                    done = self._did(compute(start), prompt.slots[start:end], cancelled())
                else:
                    done = self._decode(prompt.slots[start:end])
                if not done:
                    return
                start = end
                yield start

    def write(self, token: int) -> None:
        """Compute one token of the reply."""
        self._decode([token])

    def logits(self, size: int) -> npt.NDArray[np.float32]:
        """The logits behind the last token. A view: the next step writes over it."""
        pointer = llama_cpp.llama_get_logits_ith(self._context, -1)
        return np.ctypeslib.as_array(pointer, shape=(size,))

    @property
    def _memory(self) -> Any:
        return llama_cpp.llama_get_memory(self._context)

    def _decode(self, tokens: list[int]) -> bool:
        """Compute these tokens behind those held. False when a cancel stopped it."""
        given = (llama_cpp.llama_token * len(tokens))(*tokens)
        batch = llama_cpp.llama_batch_get_one(given, len(tokens))
        places = (llama_cpp.llama_pos * len(tokens))(*range(len(self.held), len(self.held) + len(tokens)))
        batch.pos = places  # an image may take more places in the cache than positions, so they are not counted there
        code = llama_cpp.llama_decode(self._context, batch)
        return self._did(code, tokens, code == _ABORTED)

    def _did(self, code: int, slots: list[int], cancelled: bool) -> bool:
        """Note what is held now. False when a cancel stopped it: the context is as before then."""
        if code == 0:
            self.held += slots
            return True
        if not llama_cpp.llama_memory_seq_rm(self._memory, 0, len(self.held), -1):
            llama_cpp.llama_memory_clear(self._memory, True)
            self.held.clear()
        if cancelled:
            return False
        raise EngineError(f"llama.cpp could not compute the next tokens (it returned {code}).",
                          hint="The worker's log has the details.")  # fmt: skip
