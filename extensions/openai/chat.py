"""/v1/chat/completions"""

from __future__ import annotations

import uuid
from typing import Any

from fastapi.responses import Response

from modules.extension_api import (
    BadParameter,
    BadRequest,
    Body,
    ExtensionContext,
    GenerationRequest,
    ModelChoice,
    Result,
    openai_tool_calls,
    seeded,
)

from .extras import finish_reason
from .fields import read_common, unknown_fields
from .logprobs import chat_logprobs
from .messages import read_messages
from .response import reply_with
from .schemas import CHAT_SCHEMA
from .streaming import CHAT
from .tools import read_tools

KNOWN = tuple(CHAT_SCHEMA["properties"])
TEMPLATE_FIELDS = ("enable_thinking", "reasoning_effort", "preserve_thinking", "thinking_budget")


class Chat:
    """Answers a conversation."""

    def __init__(self, context: ExtensionContext, models: ModelChoice) -> None:
        self._context = context
        self._models = models

    async def answer(self, body: Body) -> Response:
        """The response to one request. Raises EnginehouseError for a request that cannot be answered."""
        messages, said = read_messages(body.take("messages"))
        logprobs = _logprobs(body)
        variables = _variables(body)
        goes_on = body.flag("continue_final_message") or body.flag("continue_")
        if body.take("add_generation_prompt", True) is False and not goes_on:
            raise BadParameter("add_generation_prompt false means that the last message is continued: say it with "
                               "continue_final_message true.", param="add_generation_prompt")  # fmt: skip
        tools = read_tools(body)
        common = await read_common(body, self._context)
        notices = (*said, *common.notices, *unknown_fields(body, KNOWN))
        await self._models.check(common.model)
        ident = f"chatcmpl-{uuid.uuid4().hex}"
        requests = [
            GenerationRequest(
                id=f"{ident}-{number}", model=common.model, messages=messages,
                params=seeded(common.params, number), stop=common.stop, logprobs=logprobs, continue_last=goes_on,
                overflow=common.overflow, grammar=common.constraint.grammar, json_schema=common.constraint.schema,  # type: ignore[arg-type]
                template_vars=variables, lora=common.lora, negative_prompt=common.negative_prompt, origin="openai",
                **tools,
            )
            for number in range(common.n)
        ]  # fmt: skip

        def choice(index: int, reply: Result) -> dict[str, Any]:
            return _choice(index, reply, logprobs is not None)

        return reply_with(self._context.generation, requests, CHAT, ident, common, notices, choice)


def _choice(index: int, reply: Result, with_logprobs: bool) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    if reply.tool_calls:
        message["tool_calls"] = openai_tool_calls(reply.tool_calls)
        message["content"] = reply.text or None
    return {
        "index": index,
        "message": message,
        "logprobs": chat_logprobs(reply.logprobs) if with_logprobs else None,
        "finish_reason": finish_reason(reply.done),
    }


def _logprobs(body: Body) -> int | None:
    wanted = body.flag("logprobs")
    has_top = body.has("top_logprobs")
    top = body.integer("top_logprobs", 0, 0, 20)
    if has_top and top and not wanted:
        raise BadParameter("top_logprobs needs logprobs true.", param="top_logprobs")
    return top if wanted else None


def _variables(body: Body) -> dict[str, Any]:
    """Variables for the chat template; the ones people know by name may stand at the top level."""
    variables = body.object("chat_template_kwargs")
    for name in TEMPLATE_FIELDS:
        if body.has(name):
            variables = {**variables, name: body.take(name)}
    if any(name in variables for name in ("messages", "tools")):
        raise BadRequest("chat_template_kwargs cannot replace messages or tools.", param="chat_template_kwargs")
    return variables
