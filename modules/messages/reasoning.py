"""The table of reasoning formats: how each model family marks its thinking in the text it writes.

A format is a small state machine, written as data. Its states are sections (thinking or answer); a section begins with
a mark, ends with one of its `ends`, and what may come next is in the format's `next`. The stream parser
(modules/generation/stream_parser.py) runs it over a reply, `reply_start` finds the state a rendered prompt leaves a
reply in, and the drivers ask `MARK_TOKENS` and `model_marks` which control tokens must not be hidden from the parser.
To add a format, add a row to REASONING_FORMATS; nothing else has to change.

Sources: the models' chat templates and cards, and the reasoning parsers of llama.cpp (common/chat.cpp) and vLLM.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

HEADER_LIMIT = 200
"""Characters a header may have between its mark and its end; what is longer is text."""
_TAIL = 400
_HEADER_WORD = re.compile(r"[\w.]+(?:=[\w.]+)?")
_TOKEN = re.compile(r"<[^<>\s]+>|\[/?[A-Z_]+\]|◁[^◁▷]+▷")


class SectionKind(StrEnum):
    """What a section of a reply is for its reader."""

    REASONING = "reasoning"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a reply and the marks around it.

    begin       the mark it begins with; text before it, other than white space, is no mark
    ends        marks that end it, wherever they stand in it; () = it lasts to the end of the reply
    header_end  the mark that ends a header, where `begin` only begins one; "" = there is no header
    reasoning   words that make a header one of thinking; any other header begins an answer
    """

    kind: SectionKind
    begin: str
    ends: tuple[str, ...] = ()
    header_end: str = ""
    reasoning: frozenset[str] = frozenset()

    def kind_of(self, header: str) -> SectionKind:
        """Whether a section with this header is thinking or answer."""
        if self.header_end and self.reasoning.isdisjoint(_HEADER_WORD.findall(header)):
            return SectionKind.ANSWER
        return self.kind


@dataclass(frozen=True, slots=True)
class ReasoningFormat:
    """How one family of models marks its thinking.

    start          sections a reply may begin with
    next           sections that may follow the end of one of its sections; other text there is the answer
    turn           the end of a prompt behind which `turn_start` may begin a reply too
    turn_start     sections whose first mark would be ordinary text with other models
    prompt_start   sections only a prompt opens, because a reply of any model may begin with these words
    opening        what its models write to begin their thinking
    """

    name: str
    start: tuple[Section, ...]
    next: tuple[Section, ...] = ()
    turn: str = ""
    turn_start: tuple[Section, ...] = ()
    prompt_start: tuple[Section, ...] = ()
    opening: str = ""

    @property
    def sections(self) -> tuple[Section, ...]:
        """All sections it has, each once."""
        return tuple(dict.fromkeys((*self.start, *self.next, *self.turn_start, *self.prompt_start)))

    @property
    def mark_tokens(self) -> frozenset[str]:
        """Pieces of its marks that are single tokens in the vocabulary of its models."""
        marks = (mark for one in self.sections for mark in (one.begin, one.header_end, *one.ends))
        return frozenset(token for mark in (*marks, self.turn) for token in _TOKEN.findall(mark))

    @property
    def first_tokens(self) -> frozenset[str]:
        """Tokens that open its thinking: a vocabulary that has one of them is of its family."""
        return frozenset(_TOKEN.findall(one.begin)[0] for one in self.start if _TOKEN.findall(one.begin))


@dataclass(frozen=True, slots=True)
class ReplyStart:
    """The state a reply begins in.

    section  the section the prompt leaves open, None = none
    format   the format of `section` and of `next`
    kind     what `section` is, its header considered
    next     sections that may begin the reply besides those that may begin any
    """

    section: Section | None = None
    format: ReasoningFormat | None = None
    kind: SectionKind = SectionKind.ANSWER
    next: tuple[Section, ...] = ()


AT_START = ReplyStart()
"""The state of a reply whose prompt opens nothing."""


def _reasoning(begin: str, *ends: str) -> Section:
    return Section(SectionKind.REASONING, begin, ends)


def _answer(begin: str, *ends: str) -> Section:
    return Section(SectionKind.ANSWER, begin, ends)


def _tags(name: str, begin: str, end: str, *answers: Section) -> ReasoningFormat:
    """Thinking between two marks; `answers` are marks that may stand around the answer behind it."""
    return ReasoningFormat(
        name, (_reasoning(begin, end),), answers, opening=begin + ("" if begin.endswith(("]", "▷", "|>")) else "\n")
    )


def _channels() -> ReasoningFormat:
    """OpenAI's Harmony: messages with headers, any number of them, in any order. Also Muse's, which has recipients.

    Source: github.com/openai/harmony, docs/format.md. `analysis` and `commentary` are not for the person who asked.
    """
    ends = ("<|end|>", "<|return|>", "<|call|>", "<|eom|>", "<|eot|>", "<|start|>assistant")
    words = frozenset({"analysis", "commentary", "to=self", "self"})
    headers = [
        Section(SectionKind.REASONING, begin, ends, "<|message|>", words)
        for begin in ("<|start|>assistant", "<|channel|>", "to=")
    ]
    start, channel, recipient = headers
    bare = _answer("<|message|>", *ends)
    return ReasoningFormat(
        "channels",
        (start, channel),
        (start, channel, recipient, bare),
        "<|start|>assistant",
        (recipient, bare),
        opening="<|channel|>analysis<|message|>",
    )


def _solar() -> ReasoningFormat:
    """Upstage's Solar Open: one message for the thinking, one for the answer."""
    thinking, answer = _reasoning("<|think|>", "<|end|>"), _answer("<|content|>", "<|end|>")
    following = (
        _reasoning("<|begin|>assistant<|think|>", "<|end|>"),
        _answer("<|begin|>assistant<|content|>", "<|end|>"),
    )
    return ReasoningFormat(
        "solar",
        (thinking,),
        (thinking, answer, *following),
        "<|begin|>assistant",
        (answer, *following),
        opening=thinking.begin,
    )


def _elements() -> ReasoningFormat:
    """Kimi K3's elements: `<|open|>think<|sep|>` … `<|close|>think<|sep|>`."""
    thinking = _reasoning("<|open|>think<|sep|>", "<|close|>think<|sep|>")
    answer = _answer("<|open|>response<|sep|>", "<|close|>response<|sep|>")
    return ReasoningFormat("elements", (thinking, answer), (answer,), opening=thinking.begin)


_APRIEL = _reasoning("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]")
_COMMAND = (
    _answer("<|START_RESPONSE|>", "<|END_RESPONSE|>"),  # Command A and R7B
    _answer("<|START_TEXT|>", "<|END_TEXT|>"),
)
_RESPONSES = (
    _answer("<response>", "</response>"),  # Granite 3.3, ERNIE 4.5
    _answer("<answer>", "</answer>"),  # Hunyuan A13B
)

REASONING_FORMATS: tuple[ReasoningFormat, ...] = (
    _tags("think", "<think>", "</think>", *_RESPONSES),  # DeepSeek, Qwen, GLM, Nemotron, MiniMax M2, Phi 4 …
    _tags("thinking", "<thinking>", "</thinking>", _answer("<output>", "</output>")),
    _tags("thought", "<thought>", "</thought>"),  # EXAONE Deep
    _tags("reasoning", "<reasoning>", "</reasoning>", *_RESPONSES),
    _tags("seed", "<seed:think>", "</seed:think>"),  # Seed OSS
    _tags("mm", "<mm:think>", "</mm:think>"),  # MiniMax M3
    _tags("hunyuan", "<think:opensource>", "</think:opensource>"),  # Hunyuan 3
    _tags("kimi", "◁think▷", "◁/think▷"),  # Kimi VL
    _tags("mistral", "[THINK]", "[/THINK]"),  # Magistral, Ministral
    _tags("apertus", "<|inner_prefix|>", "<|inner_suffix|>"),
    _tags("gemma", "<|channel>thought", "<channel|>"),  # Gemma 4
    _tags("open thoughts", "<|begin_of_thought|>", "<|end_of_thought|>",
          _answer("<|begin_of_solution|>", "<|end_of_solution|>")),
    ReasoningFormat("command", (_reasoning("<|START_THINKING|>", "<|END_THINKING|>"), *_COMMAND), _COMMAND,
                    opening="<|START_THINKING|>"),
    ReasoningFormat("apriel", (), prompt_start=(_APRIEL,), opening=_APRIEL.begin + "\n"),
    _channels(),
    _solar(),
    _elements(),
)  # fmt: skip
"""All formats there are. Adding one is adding a row."""

MARK_TOKENS: frozenset[str] = frozenset().union(*(one.mark_tokens for one in REASONING_FORMATS))
"""Every piece of a mark that some model has as one token."""


def model_marks(is_token: Callable[[str], bool]) -> tuple[str, ...]:
    """The mark tokens of a model, in a fixed order; `is_token` says whether a text is one token of its vocabulary.

    Only formats count that the vocabulary has an opening token of: `<|end|>` is a mark of thinking with gpt-oss, but
    with Phi only the end of the reply, and would be shown.
    """
    known = [one for one in REASONING_FORMATS if any(map(is_token, sorted(one.first_tokens)))]
    return tuple(sorted({token for one in known for token in one.mark_tokens if is_token(token)}))


def reply_start(prompt: str) -> ReplyStart:
    """The state a rendered prompt leaves the reply in: inside a section, behind a turn's header, or at its start."""
    tail = prompt[-_TAIL:].rstrip()
    for form in REASONING_FORMATS:
        for section in form.sections:
            if section.header_end:
                header = _open_header(tail, section)
                if header is not None:
                    return ReplyStart(section, form, section.kind_of(header))
            elif section.kind is SectionKind.REASONING and tail.endswith(section.begin):
                return ReplyStart(section, form, section.kind)
    for form in REASONING_FORMATS:
        if form.turn and tail.endswith(form.turn):
            return ReplyStart(None, form, next=form.turn_start)
        if form.next and any(tail.endswith(end) for section in form.sections for end in section.ends):
            return ReplyStart(None, form, next=form.next)
    return AT_START


def _open_header(tail: str, section: Section) -> str | None:
    """The header a text ends with, if it ends with a whole one."""
    if not tail.endswith(section.header_end):
        return None
    body = tail[: -len(section.header_end)]
    at = body.rfind(section.begin)
    header = body[at + len(section.begin) :]
    return header if at >= 0 and is_header(header) else None


def is_header(text: str) -> bool:
    """Whether this can be (the beginning of) a header's content."""
    return len(text) <= HEADER_LIMIT and "\n" not in text


def formats_in(template: str) -> tuple[ReasoningFormat, ...]:
    """The formats whose opening marks a chat template's source holds."""
    return tuple(
        form for form in REASONING_FORMATS
        if any(section.begin in template for section in (*form.start, *form.prompt_start))
    )  # fmt: skip


def without_marks_at_end(prompt: str) -> str:
    """A generation prompt without the thinking it opens, or opens and closes: it ends with the assistant's header.

    White space behind the marks goes with them; what stands before them stays.
    """
    for form in REASONING_FORMATS:
        for section in (*form.start, *form.prompt_start):
            if section.header_end or section.kind is not SectionKind.REASONING:
                continue
            ends = "|".join(map(re.escape, section.ends))
            found = re.search(rf"(?:{re.escape(section.begin)}\s*(?:{ends})?|(?:{ends}))\s*\Z", prompt)
            if found:
                return prompt[: found.start()]
    return prompt
