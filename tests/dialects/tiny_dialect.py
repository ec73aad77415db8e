"""A whole API dialect in one file: its extension's script.py would hold just this.

POST /tiny/generate {"model", "prompt", "stream", "format", "options": {sampling values}} answers in lines of JSON, as
small servers do; WS /tiny/live takes the same as messages.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator

from fastapi import Request, WebSocket
from fastapi.responses import Response

from modules.extension_api import (
    Body,
    Dialect,
    DialectRouter,
    ExtensionContext,
    GenerationRequest,
    JsonAnswer,
    LineAnswer,
    ModelChoice,
    Text,
    TokenCounts,
    answered,
    chunks,
    encoded,
    hookimpl,
    read_constraint,
    read_sampling,
    read_stop,
    serve_socket,
)

TINY = Dialect("tiny", ("/tiny",), lambda error: {"error": error.message})


@hookimpl
def routes(context: ExtensionContext) -> DialectRouter:
    """The two addresses."""
    router = DialectRouter(TINY)
    models = ModelChoice(context)

    async def read(body: Body) -> GenerationRequest:
        params, _ = await read_sampling(body.inner("options"), context)
        constraint, _ = read_constraint(body)
        model = models.read(body)
        await models.check(model)
        return GenerationRequest(
            id=uuid.uuid4().hex, model=model, prompt=body.text("prompt"), params=params, stop=read_stop(body),
            grammar=constraint.grammar, json_schema=constraint.schema, origin="tiny",
        )  # fmt: skip

    async def lines(request: GenerationRequest, unknown: list[str]) -> AsyncGenerator[bytes, None]:
        async for _, chunk in chunks(context.generation, [request]):
            if isinstance(chunk, Text):
                yield encoded({"response": chunk.text, "done": False}) + b"\n"
        yield encoded({"response": "", "done": True, "ignored": unknown}) + b"\n"

    async def generate(body: Body) -> Response:
        stream, request = body.flag("stream", True), await read(body)
        unknown = [str(notice.param) for notice in body.unknown()]
        if stream:
            return LineAnswer(TINY, lines(request, unknown))

        async def whole() -> dict[str, object]:
            result = await context.generation.run(request)
            counts = TokenCounts.of([(result.ledger, result.done)])
            return {"response": result.text, "done": True, "eval_count": counts.completion, "ignored": unknown}

        return JsonAnswer(TINY, whole)

    async def live(body: Body) -> AsyncGenerator[bytes, None]:
        async for line in lines(await read(body), []):
            yield line

    @router.post("/tiny/generate")
    async def tiny_generate(request: Request) -> Response:
        return await answered(TINY, generate, request)

    @router.websocket("/tiny/live")
    async def tiny_live(websocket: WebSocket) -> None:
        await serve_socket(TINY, live, websocket)

    return router
