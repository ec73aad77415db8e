"""A model's chat template, rendered with Jinja's sandbox. In the worker only: a template is a stranger's program.

The environment is the one templates are written for (transformers, utils/chat_template_utils.py): blocks trimmed,
`raise_exception`, `strftime_now`, `tojson` without escapes, break and continue, and the `generation` block.
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

from modules.errors import BadRequest
from modules.types import MEDIA_MARK, Message

PLAIN = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML: what a chat becomes for a model that brings no template, as in llama.cpp."""
_HERE = "\ue0c0\ue0c1"
"""Behind the text that is to be continued while the template runs; characters of no language."""


class ChatTemplate:
    """One compiled template. `bos` and `eos` are the texts of those tokens."""

    def __init__(self, source: str, bos: str = "", eos: str = "") -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        self._tokens = {"bos_token": bos, "eos_token": eos}
        try:
            self._template = environment.from_string(source or PLAIN)
        except jinja2.TemplateError as error:
            raise _unusable(error) from error

    def render(self, messages: Sequence[Message], variables: Mapping[str, Any], continue_last: bool) -> str:
        """The prompt of a chat; with `continue_last` it ends with the last message, left open.

        Raises BadRequest with the template's own words when it refuses the messages, or fails.
        """
        if not messages:
            raise BadRequest("There is no message.", hint="Send at least one.", param="messages")
        shown = [{"role": message.role, "content": with_marks(message)} for message in messages]
        if not continue_last:
            return self._run(shown, variables, True)
        last = shown[-1]["content"]
        marked = last.strip() + _HERE  # else a short text is found in what the template writes behind it
        text = self._run([*shown[:-1], {**shown[-1], "content": marked}], variables, False)
        found = text.rfind(marked) if last.strip() else -1
        if found < 0:  # nothing to continue yet, or the template changes the text: put behind the opened turn
            return self._run(shown[:-1], variables, True) + last
        return text[:found] + last.lstrip()

    def _run(self, messages: list[dict[str, str]], variables: Mapping[str, Any], opened: bool) -> str:
        values = {"tools": None, **self._tokens, **variables, "messages": messages, "add_generation_prompt": opened}
        try:
            return self._template.render(**values)
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise _unusable(error) from error


def with_marks(message: Message) -> str:
    """The content with one mark for each image: where it has them, or else before the text."""
    missing = len(message.images) - message.content.count(MEDIA_MARK)
    return f"{MEDIA_MARK * missing}\n{message.content}" if missing > 0 else message.content


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
