"""/v1/embeddings: vectors of texts."""

from __future__ import annotations

import asyncio
import base64
import math
import struct
from dataclasses import asdict
from typing import Any

from fastapi.responses import Response

from modules.extension_api import BadParameter, Body, Embedded, ExtensionContext, JsonAnswer, ModelChoice, Notice

from .completions import Prompt, read_prompts
from .errors import OPENAI
from .fields import unknown_fields
from .schemas import EMBEDDING_SCHEMA

KNOWN = tuple(EMBEDDING_SCHEMA["properties"])
MOST_INPUTS = 2048
WIDEST = 1 << 16


class Embedding:
    """Answers with one vector per input."""

    def __init__(self, context: ExtensionContext, models: ModelChoice) -> None:
        self._context = context
        self._models = models

    async def answer(self, body: Body) -> Response:
        """The response to one request. Raises EnginehouseError for a request that cannot be answered."""
        inputs = _inputs(body.take("input"))
        form = body.choice("encoding_format", ("float", "base64"), "float")
        width = body.integer("dimensions", 0, 1, WIDEST) if body.has("dimensions") else 0
        body.take("user")
        model = self._models.read(body)
        notices = unknown_fields(body, KNOWN)
        await self._models.check(model)

        async def work() -> dict[str, Any]:
            found = await self._context.models.embed(model, inputs)
            return await asyncio.to_thread(_shaped, found, form, width, notices)

        return JsonAnswer(OPENAI, work)


def _inputs(value: Any) -> list[Prompt]:
    if value is None:
        raise BadParameter("input is missing.", param="input")
    if isinstance(value, list) and len(value) > MOST_INPUTS and not isinstance(value[0], int):
        raise BadParameter(f"input has {len(value)} texts, but {MOST_INPUTS} is the most.", param="input",
                           hint="Send several requests.")  # fmt: skip
    return read_prompts(value, "input")


def _shaped(found: Embedded, form: str, width: int, notices: tuple[Notice, ...]) -> dict[str, Any]:
    """The answer's body. Raises BadParameter for more dimensions than there are."""
    vectors, said = found.vectors, [*notices, *found.notices]
    whole = len(vectors[0])
    if width > whole:
        raise BadParameter(f"dimensions is {width}, but the vectors of {found.model} have {whole} numbers.",
                           param="dimensions")  # fmt: skip
    if width and width < whole:
        vectors = tuple(_cut(vector, width) for vector in vectors)
        text = (f"The vectors were cut from {whole} to {width} numbers and made of length 1 again. Only those of "
                "models that were trained for it (Matryoshka) keep their meaning.")  # fmt: skip
        said.append(Notice("dimensions_cut", text, param="dimensions"))
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _packed(vector) if form == "base64" else vector}
            for index, vector in enumerate(vectors)
        ],
        "model": found.model,
        "usage": {"prompt_tokens": found.tokens, "total_tokens": found.tokens},
        "enginehouse": {"notices": [asdict(notice) for notice in dict.fromkeys(said)]},
    }


def _cut(vector: tuple[float, ...], width: int) -> tuple[float, ...]:
    part = vector[:width]
    length = math.sqrt(sum(value * value for value in part)) or 1.0
    return tuple(value / length for value in part)


def _packed(vector: tuple[float, ...]) -> str:
    """Little-endian 32-bit floats, which is what OpenAI's clients unpack."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
