"""/v1/completions: text goes on as it is, without a chat template."""

from __future__ import annotations

import uuid
from typing import Any

from fastapi.responses import Response

from modules.extension_api import (
    BadParameter,
    Body,
    ExtensionContext,
    GenerationRequest,
    ModelChoice,
    Result,
    seeded,
)

from .extras import finish_reason
from .fields import read_common, refuse, unknown_fields
from .logprobs import CompletionLogprobs
from .response import reply_with
from .schemas import COMPLETION_SCHEMA
from .streaming import COMPLETION

KNOWN = tuple(COMPLETION_SCHEMA["properties"])
MOST_REPLIES = 64
MOST_TOKENS = 2_000_000
TOKENS = 2**31  # engines keep ids in 32 bits with a sign, and larger ones would come out as other tokens
Prompt = str | tuple[int, ...]


class Completions:
    """Continues texts."""

    def __init__(self, context: ExtensionContext, models: ModelChoice) -> None:
        self._context = context
        self._models = models

    async def answer(self, body: Body) -> Response:
        """The response to one request. Raises EnginehouseError for a request that cannot be answered."""
        prompts = read_prompts(body.take("prompt"))
        refuse(bool(body.take("suffix")), "suffix", "suffix is not offered: no loader here fills in the middle yet.")
        echo = body.flag("echo")
        logprobs = body.integer("logprobs", 0, 0, 20) if body.has("logprobs") else None
        best_of = body.take("best_of")
        common = await read_common(body, self._context)
        refuse(best_of not in (None, common.n), "best_of", "best_of is offered only as the same number as n.")
        if len(prompts) * common.n > MOST_REPLIES:
            raise BadParameter(f"{len(prompts)} prompts times n = {common.n} is more than {MOST_REPLIES}.",
                               param="prompt", hint="Send several requests.")  # fmt: skip
        notices = (*common.notices, *unknown_fields(body, KNOWN))
        await self._models.check(common.model)
        ident = f"cmpl-{uuid.uuid4().hex}"
        requests = [
            GenerationRequest(
                id=f"{ident}-{place}-{number}", model=common.model, prompt=prompt, params=seeded(common.params, number),
                stop=common.stop, logprobs=logprobs, grammar=common.constraint.grammar,
                json_schema=common.constraint.schema, echo=echo,
                lora=common.lora, negative_prompt=common.negative_prompt, origin="openai",
            )
            for place, prompt in enumerate(prompts)
            for number in range(common.n)
        ]  # fmt: skip

        def choice(index: int, reply: Result) -> dict[str, Any]:
            return _choice(index, reply, logprobs is not None)

        return reply_with(self._context.generation, requests, COMPLETION, ident, common, notices, choice)


def _choice(index: int, reply: Result, with_logprobs: bool) -> dict[str, Any]:
    return {
        "index": index,
        "text": reply.text,
        "logprobs": CompletionLogprobs().of(reply.text, reply.logprobs) if with_logprobs else None,
        "finish_reason": finish_reason(reply.done),
    }


def read_prompts(value: Any, name: str = "prompt") -> list[Prompt]:
    """A text, token ids, or a list of either. Raises BadParameter naming the field."""
    if value is None:
        raise BadParameter(f"{name} is missing.", param=name)
    if isinstance(value, list) and len(value) > MOST_TOKENS:
        raise BadParameter(f"{name} has {len(value):,} items, but {MOST_TOKENS:,} is the most.", param=name)
    if isinstance(value, str) or (isinstance(value, list) and value and all(map(_is_number, value))):
        value = [value]
    if not isinstance(value, list) or not value:
        raise BadParameter(f"{name} has to be a text, a list of token ids, or a list of several of either.", param=name)
    return [_prompt(item, f"{name}.{place}") for place, item in enumerate(value)]


def _prompt(value: Any, where: str) -> Prompt:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, list) and value and all(map(_is_number, value)):
        if any(not 0 <= token < TOKENS for token in value):
            raise BadParameter(f"A token id is from 0 to {TOKENS - 1}.", param=where)
        return tuple(value)
    raise BadParameter("It has to be a text that is not empty, or a list of token ids.", param=where)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
