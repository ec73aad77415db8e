"""How many tokens a request comes to: exact where that is cheap or needed, else a bound, and the bound is said.

Cheap path: a token stands for at least one byte, so a prompt whose UTF-8 bytes fit does not have to be counted. (A
tokeniser that normalises compatibility characters can break the bound; then the engine itself refuses, and nothing is
cut silently.) Engines that render chats themselves get messages, whose texts are counted one by one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol

from modules.errors import BadRequest, Unsupported
from modules.generation.roles import fit_roles
from modules.messages.images import all_of
from modules.messages.neighbours import merge_neighbours
from modules.messages.tool_calls import written_text
from modules.types import EngineInfo, GenerationRequest, Message, RenderedPrompt

SPECIALS = 8  # begin-of-text and the like, which a tokeniser may add without there being bytes for it
ROLE_TOKENS = 16  # of one message, for what a template we do not see puts around it
IMAGE_TOKENS = 1024  # of one image, where the engine does not say; models take 64 to about 2,900
AT_ONCE = 8  # texts counted at the same time


class Renderer(Protocol):
    """The part of an Engine that is needed here; see modules/drivers/base.py."""

    @property
    def info(self) -> EngineInfo: ...
    async def render(
        self, messages: tuple[Message, ...], variables: Mapping[str, Any], continue_last: bool = False
    ) -> RenderedPrompt: ...
    async def tokenize(self, text: str, special: bool = True) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class Counted:
    """What would be sent, and what it comes to.

    prompt   text or ids; None where `messages` are sent
    text     the rendered prompt, "" for ids
    tokens   the count, or a bound of it
    least    how many it surely has; only these make a prompt too long
    taken    how many not to promise to the reply: servers refuse a length that does not fit; as `least` when 0
    why      why the count is not exact, where that matters
    """

    prompt: str | tuple[int, ...] | None
    text: str
    tokens: int
    least: int
    exact: bool
    images: tuple[str, ...] = ()
    messages: tuple[Message, ...] | None = None
    why: str = ""
    taken: int = 0
    image_places: tuple[int, ...] = ()


class Counter(Protocol):
    """Counts parts of one chat."""

    async def count(self, messages: tuple[Message, ...], cheap_below: int) -> Counted: ...
    async def text_tokens(self, message: Message) -> int:
        """Tokens of a message's text alone; 0 where the engine cannot count."""


def counter_for(request: GenerationRequest, engine: Renderer) -> Counter:
    """The way to count chats for this engine."""
    return Rendering(request, engine) if engine.info.renders_templates else Unrendered(request, engine)


class Rendering:
    """Chats that we render: the template's text is what is counted and sent."""

    def __init__(self, request: GenerationRequest, engine: Renderer) -> None:
        self._request = request
        self._engine = engine

    async def count(self, messages: tuple[Message, ...], cheap_below: int) -> Counted:
        """Raises what rendering raises, and BadRequest when the template loses an image."""
        request = self._request
        ready, _ = fit_roles(_merged(messages, request), self._engine.info.template)
        tools = {"tools": [dict(tool) for tool in request.tools]} if request.tools else {}
        prompt = await self._engine.render(ready, {**request.template_vars, **tools}, request.continue_last)
        return await count_text(prompt, all_of(ready), self._engine, cheap_below, "The model's chat template")

    async def text_tokens(self, message: Message) -> int:
        """See Counter."""
        return await _text_tokens(message, self._engine)


async def count_prompt(request: GenerationRequest, engine: Renderer, cheap_below: int) -> Counted:
    """A raw prompt. Raises BadRequest when its images and their places do not match."""
    prompt = request.prompt
    if prompt is None:
        raise BadRequest("A request needs messages or a prompt.")
    if isinstance(prompt, str):
        rendered = RenderedPrompt(prompt, request.image_places)
        return await count_text(rendered, request.images, engine, cheap_below, "The prompt")
    if request.images:
        raise BadRequest("A prompt of token ids has no place for images.", hint="Send text.", param="prompt")
    return Counted(prompt, "", len(prompt), len(prompt), True)


async def count_text(
    prompt: RenderedPrompt, images: tuple[str, ...], engine: Renderer, cheap_below: int, who: str
) -> Counted:  # fmt: skip
    """Text that is sent as it is, or as the ids it was counted by; with images always as text."""
    text, places = prompt.text, prompt.image_places
    if len(places) != len(images) or not _ascending(places, len(text)):
        raise BadRequest(
            f"{who} has {len(places)} places for images, but there are {len(images)} images.",
            hint="Each image needs one place, in ascending order, inside the prompt.", code="images_misplaced",
        )  # fmt: skip
    each, why = _image_tokens(engine.info) if images else (0, "")
    shown = len(images) * each
    bound = len(text.encode("utf-8", "surrogatepass")) + SPECIALS + shown
    if bound <= cheap_below:
        return Counted(text, text, bound, 0, False, images, why=why, image_places=places)
    try:
        if not images:
            ids = tuple(await engine.tokenize(text))
            return Counted(ids, text, len(ids), len(ids), True)
        pieces = [text[start:end] for start, end in pairwise((0, *places, len(text)))]
        counts = [len(await engine.tokenize(piece, place == 0)) for place, piece in enumerate(pieces)]
    except Unsupported:
        return Counted(text, text, bound, 0, False, images, image_places=places, why=_join(why, "The engine cannot "
                       "count, so bytes stand for tokens: the count is an upper bound."))  # fmt: skip
    surely = sum(counts) + (len(images) if why else shown)
    return Counted(text, text, sum(counts) + shown, surely, not why, images, why=why, image_places=places)


def _ascending(places: Sequence[int], length: int) -> bool:
    """Whether these are places of a text of that length, in order."""
    return all(first <= second for first, second in pairwise((0, *places, length)))


class Unrendered:
    """Chats an engine renders itself: the texts are counted one by one, and once each."""

    def __init__(self, request: GenerationRequest, engine: Renderer) -> None:
        self._request = request
        self._engine = engine
        self._known: dict[Message, int] = {}
        self._counts = True

    async def count(self, messages: tuple[Message, ...], cheap_below: int) -> Counted:
        """`tokens` holds a guess of what stands around each message; `least` does not."""
        ready = _merged(messages, self._request)
        images = all_of(ready)
        each, guess = _image_tokens(self._engine.info) if images else (0, "")
        around = len(ready) * ROLE_TOKENS + len(images) * each
        bound = sum(_length(message) for message in ready) + around
        nothing = Counted(None, "", bound, 0, False, messages=ready)
        if bound <= cheap_below:
            return replace(nothing, why=_join(guess, _BOUND.format("bytes")))
        if self._counts:
            await self._learn(ready)
        if not self._counts:
            return replace(nothing, why=_join(guess, _BOUND.format("bytes")))
        texts = sum(self._known[message] for message in ready)
        taken = texts + len(ready) * ROLE_TOKENS
        why = _join(guess, _BOUND.format("tokens"))
        return replace(nothing, tokens=texts + around, least=texts, taken=taken, why=why)

    async def text_tokens(self, message: Message) -> int:
        """See Counter."""
        return await _text_tokens(message, self._engine)

    async def _learn(self, messages: Sequence[Message]) -> None:
        """Count those that are new, a few at the same time."""
        new = [message for message in dict.fromkeys(messages) if message not in self._known]
        for start in range(0, len(new), AT_ONCE):
            part = new[start : start + AT_ONCE]
            texts = [written_text(message) for message in part]
            try:
                found = await asyncio.gather(*(self._engine.tokenize(text, False) for text in texts))
            except Unsupported:
                self._counts = False
                return
            self._known.update(zip(part, map(len, found), strict=True))


_BOUND = "The engine writes the prompt itself, so it was counted from the {} of the messages."


def _merged(messages: tuple[Message, ...], request: GenerationRequest) -> tuple[Message, ...]:
    return merge_neighbours(messages, request.continue_last) if request.merge_neighbours else messages


async def _text_tokens(message: Message, engine: Renderer) -> int:
    try:
        return len(await engine.tokenize(written_text(message), False))
    except Unsupported:
        return 0


def _length(message: Message) -> int:
    return len(written_text(message).encode("utf-8", "surrogatepass"))


def _image_tokens(info: EngineInfo) -> tuple[int, str]:
    """Tokens of one image, and what to say when that is a guess."""
    told = info.details.get("image_tokens")
    if isinstance(told, int) and told > 0:
        return told, ""
    return IMAGE_TOKENS, f"An image is counted as {IMAGE_TOKENS:,} tokens: the engine does not say how many it takes."


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)
