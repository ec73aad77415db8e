"""From the requests of one call to its answer, streamed or whole: the same for both kinds of completion."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from fastapi.responses import Response

from modules.extension_api import (
    EventAnswer,
    Generation,
    GenerationRequest,
    JsonAnswer,
    Notice,
    Result,
    reply_facts,
    results,
)

from .errors import OPENAI
from .extras import usage
from .fields import Common
from .streaming import Shape, Streaming


def reply_with(
    generation: Generation, requests: Sequence[GenerationRequest], shape: Shape, ident: str, common: Common,
    notices: Sequence[Notice], choice: Callable[[int, Result], dict[str, Any]],
) -> Response:  # fmt: skip
    """The response; `choice` makes one choice of a whole answer, `notices` is what was decided before the replies."""
    if common.stream:
        stream = Streaming(generation, requests, shape, ident, common.n, common.usage, notices)
        return EventAnswer(OPENAI, stream.events(), stream.comment)

    async def work() -> dict[str, Any]:
        replies = await results(generation, requests)
        ended = [(reply.ledger, reply.done) for reply in replies]
        return {
            "id": ident,
            "object": shape.whole,
            "created": int(time.time()),
            "model": replies[0].ledger.model if replies[0].ledger else common.model or "",
            "system_fingerprint": None,
            "choices": [choice(index, reply) for index, reply in enumerate(replies)],
            "usage": usage(ended, common.n),
            "enginehouse": reply_facts(ended, [*notices, *(n for reply in replies for n in reply.notices)]),
        }

    return JsonAnswer(OPENAI, work)
