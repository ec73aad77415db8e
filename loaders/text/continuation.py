"""The prompt of a reply that is continued: it ends within the assistant's last message.

In the usual case it is what transformers' `apply_chat_template(continue_final_message=True)` gives: the template runs
with a marker behind the text, and everything from the marker on is cut off. It differs in four cases, where that raises
an error or gives a prompt no model was trained on:

- An empty reply: the generation prompt, so that the assistant's header is there.
- A text cut inside the thinking: the header with the thinking opened once, then the text. Templates that write an
  empty thinking block before every answer would put it before the open one.
- A text whose thinking the template takes away: header and text as they were written.
- A template that changes or refuses the text: the generation prompt, then the text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from modules.errors import BadRequest
from modules.generation.stream_parser import StreamParser
from modules.messages.reasoning import REASONING_FORMATS, SectionKind, formats_in, reply_start, without_marks_at_end
from modules.types import Reasoning, Text

Chat = list[dict[str, Any]]
Run = Callable[[Chat, bool], str]
"""Renders a chat; True = with the generation prompt."""

MARKER = "\ue0c0\ue0c1"
"""Behind the text that is to be continued while the template runs; characters of no language."""


def continued_prompt(chat: Chat, reasoning: str, source: str, run: Run) -> str:
    """The prompt of a chat whose last message is continued.

    reasoning  what that message's reasoning is; it is continued where the message has no text
    source     the template's text
    Raises BadRequest when the template refuses the messages before it.
    """
    content: str = chat[-1]["content"]
    if not content.strip():
        return _continued_reasoning(chat, reasoning, source, run) if reasoning else run(chat[:-1], True)
    written = _read(content)
    if written.is_open:
        return without_marks_at_end(run(chat[:-1], True)) + content.lstrip()
    try:
        text = run([*chat[:-1], {**chat[-1], "content": content + MARKER}], False)
    except BadRequest:
        text = ""
    end = text.rfind(MARKER)
    if end >= 0 and written.answer.strip() in text[:end] and written.reasoning.strip() in text[:end]:
        return _without_empty_block(text[:end], content) if written.reasoning else text[:end]
    prompt = run(chat[:-1], True)
    return without_marks_at_end(prompt) + content.lstrip() if written.reasoning else prompt + content


def _without_empty_block(prompt: str, content: str) -> str:
    """The prompt of a text that has its own thinking, without thinking the template put before that."""
    start = prompt.rfind(content.strip())
    return without_marks_at_end(prompt[:start]) + prompt[start:] if start >= 0 else prompt


def _continued_reasoning(chat: Chat, reasoning: str, source: str, run: Run) -> str:
    """As `continue_final_message="reasoning_content"`, or with the thinking opened by us where that is of no use."""
    marked = {key: value + MARKER if value == reasoning else value for key, value in chat[-1].items()}
    try:
        text = run([*chat[:-1], marked], False)
    except BadRequest:
        text = ""
    end = text.rfind(MARKER)
    if end >= 0 and text[:end].endswith(reasoning) and _opens(text[: end - len(reasoning)]):
        return text[:end]
    prompt = run(chat[:-1], True)
    if _opens(prompt):
        return prompt + reasoning
    formats = formats_in(source) or REASONING_FORMATS
    return without_marks_at_end(prompt) + formats[0].opening + reasoning


def _opens(prompt: str) -> bool:
    start = reply_start(prompt)
    return start.section is not None and start.kind is SectionKind.REASONING


@dataclass(frozen=True, slots=True)
class _Written:
    reasoning: str
    answer: str
    is_open: bool


def _read(content: str) -> _Written:
    """The thinking and the answer in a text, and whether it ends inside the thinking."""
    parser = StreamParser((), REASONING_FORMATS)
    out = parser.feed(Text(content))
    is_open = parser.is_reasoning
    out = [*out, *parser.flush()]
    thinking = "".join(one.text for one in out if isinstance(one, Reasoning))
    return _Written(thinking, "".join(one.text for one in out if isinstance(one, Text)), is_open)
