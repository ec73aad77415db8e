"""A model's chat template, rendered with Jinja's sandbox. In the worker only: a template is a stranger's program.

The environment is the one templates are written for (transformers, utils/chat_template_utils.py): blocks trimmed,
`raise_exception`, `strftime_now`, `tojson` without escapes, break and continue, and the `generation` block. The prompt
is what `tokenizer.apply_chat_template` gives for the same template, also for a reply that is continued; where that
gives none, or breaks the thinking apart, loaders/text/continuation.py says what is done instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from loaders.text.continuation import continued_prompt
from loaders.text.media_mark import marked_text
from loaders.text.template_message import template_message
from modules.errors import BadRequest
from modules.types import Message

PLAIN = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML: what a chat becomes for a model that brings no template, as in llama.cpp."""


class ChatTemplate:
    """One compiled template. `bos` and `eos` are the texts of those tokens."""

    def __init__(self, source: str, bos: str = "", eos: str = "") -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        self.source = source or PLAIN
        self._tokens = {"bos_token": bos, "eos_token": eos}
        try:
            self._template = environment.from_string(self.source)
        except jinja2.TemplateError as error:
            raise _unusable(error) from error

    def render(self, messages: Sequence[Message], variables: Mapping[str, Any], continue_last: bool) -> str:
        """The prompt of a chat; with `continue_last` it ends with the last message, left open.

        Raises BadRequest with the template's own words when it refuses the messages, or fails.
        """
        if not messages:
            raise BadRequest("There is no message.", hint="Send at least one.", param="messages")
        shown = [template_message(message, marked_text(message), self.source) for message in messages]

        def run(chat: list[dict[str, Any]], opened: bool) -> str:
            return self._run(chat, variables, opened)

        if continue_last:
            return continued_prompt(shown, messages[-1].reasoning, self.source, run)
        return run(shown, True)

    def _run(self, messages: list[dict[str, Any]], variables: Mapping[str, Any], opened: bool) -> str:
        values = {"tools": None, **self._tokens, **variables, "messages": messages, "add_generation_prompt": opened}
        try:
            return self._template.render(**values)
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise _unusable(error) from error


class _Generation(Extension):
    """`{% generation %}` marks what an assistant wrote, for training; here it is only its body."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> Node | list[Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise(words: str) -> None:
    raise jinja2.TemplateError(words)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **more: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **more)


def _unusable(error: Exception) -> BadRequest:
    return BadRequest(
        f"The model's chat template does not take this: {str(error)[:300] or type(error).__name__}",
        hint="Change the messages, or give the model another template.",
        code="template_failed",
    )
