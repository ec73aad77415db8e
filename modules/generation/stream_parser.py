"""Reads an engine's text as a reader sees it: thinking split off, marks dropped, stop strings found and held back.

Two steps, each reading every character once (cost per token does not grow with the reply):

1. Sections. A reply may begin with a mark of a reasoning format (modules/messages/reasoning.py), or the prompt has
   already opened a section. Thinking becomes Reasoning; marks and the white space behind them are dropped. Inside a
   section only the marks that end it count, behind its end only those that may follow. Elsewhere a mark is ordinary
   text: models write about marks.
2. Stop strings, in the visible text only (a stop string inside the thinking ends nothing). The first one that
   is *completed* ends the reply; of several completed by the same character, the longest. Text that could still
   become a stop string is held back, at most the longest stop string less one character.

The result does not depend on how the text is cut into pieces; tests/faults/stop_strings.py holds it to that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain

from modules.generation.stop_strings import StopMatcher
from modules.messages.reasoning import AT_START, ReasoningFormat, ReplyStart, Section, SectionKind, is_header
from modules.types import Reasoning, Text, TokenLogprob

_BETWEEN = "\n\n"
"""What a reader sees between two pieces of thinking that were messages of their own."""


class StreamParser:
    """One reply. `feed` each Text of the engine, then `flush` once; `stopped` holds the stop string that was hit.

    formats  reasoning formats to look for; () for raw completions
    start    the state the prompt leaves the reply in
    logprobs whether the tokens' probabilities have to be kept in step with the text
    """

    def __init__(
        self,
        stop: Iterable[str] = (),
        formats: Sequence[ReasoningFormat] = (),
        start: ReplyStart = AT_START,
        logprobs: bool = False,
    ) -> None:
        self.stopped: str | None = None
        self.reasoning_tokens = 0
        self._finder = StopMatcher(stop)
        self._ends: StopMatcher | None = None  # marks that end the section
        self._format: ReasoningFormat | None = None
        self._kind = SectionKind.ANSWER
        self._heads: list[tuple[Section, ReasoningFormat]] = [(one, form) for form in formats for one in form.start]
        if start.format is not None:
            self._heads += [(one, start.format) for one in start.next]
        self._head: str | None = "" if self._heads else None  # text that may still become a mark
        self._thought = self._gap = False  # whether there was thinking; whether more of it is a further piece
        self._fresh = False  # white space at the front is dropped
        self._marks: deque[tuple[int, int, TokenLogprob]] | None = deque() if logprobs else None
        self._seen = 0  # characters of the engine's text so far
        self._read = 0  # characters whose part (thinking, tag or visible) is decided
        self._gaps: deque[tuple[int, int]] = deque()  # visible parts not yet sent: [start, end) in the engine's text
        self._tokens = 0
        if start.section is not None and start.format is not None:
            self._enter(start.section, start.format, start.kind)

    def feed(self, chunk: Text) -> Sequence[Text | Reasoning]:
        """What can be shown now. After `stopped` is set nothing more comes."""
        if self.stopped is not None:
            return ()
        text = chunk.text
        settled = self._head is None and not self._fresh and not self._tokens and self._passes(text)
        if settled and text and not self._marks and self._finder.idle(text):
            self._seen = self._read = self._seen + len(text)
            return (chunk,)
        self._wait(chunk)
        return self._run(text)

    def flush(self) -> Sequence[Text | Reasoning]:
        """The reply is over: give out what was held back."""
        if self.stopped is not None:
            return ()
        out: list[Text | Reasoning] = []
        if self._ends is not None:
            rest = self._ends.flush()
            (self._reason if self._kind is SectionKind.REASONING else self._visible)(rest, out)
        elif self._head and not self._in_header(self._head.lstrip()):
            head, self._head = self._head, None
            self._visible(head, out)
        self._show(self._finder.flush(), out)
        return out

    @property
    def is_reasoning(self) -> bool:
        """Whether what was read so far ends inside the thinking."""
        return self._ends is not None and self._kind is SectionKind.REASONING

    def skip(self, text: str) -> None:
        """Read what the reply goes on from: it counts for nothing but the section it ends in."""
        finder, self._finder = self._finder, StopMatcher(())
        self._run(text)
        self._finder = finder
        if self._ends is not None:
            self._ends.flush()
        if self._head is not None and self._head.strip():
            self._head = None
        self._seen = self._read = self._tokens = self.reasoning_tokens = 0
        self._gaps.clear()

    # ── counting tokens and their probabilities ────────────────────────────────────────────────────

    def _wait(self, chunk: Text) -> None:
        """Count a chunk whose text is not out yet."""
        self._tokens += chunk.tokens
        if self._marks is not None and chunk.logprobs:
            spans = token_spans(chunk.text, chunk.logprobs)
            base = self._seen
            self._marks.extend((base + a, base + b, mark) for (a, b), mark in zip(spans, chunk.logprobs, strict=True))
        self._seen += len(chunk.text)

    def _take_tokens(self) -> int:
        tokens, self._tokens = self._tokens, 0
        return tokens

    def _take_marks(self, length: int) -> tuple[TokenLogprob, ...]:
        """Probabilities of the tokens that touch the next `length` visible characters."""
        taken: list[TokenLogprob] = []
        while length and self._gaps:
            start, end = self._gaps[0]
            stop = min(end, start + length)
            length -= stop - start
            if stop == end:
                self._gaps.popleft()
            else:
                self._gaps[0] = (stop, end)
            self._marks_in(start, stop, taken)
        return tuple(taken)

    def _marks_in(self, start: int, stop: int, taken: list[TokenLogprob]) -> None:
        marks = self._marks
        while marks:
            first, last, mark = marks[0]
            if first >= stop:
                return
            marks.popleft()
            if last > start or first == last >= start:
                taken.append(mark)

    # ── the two steps ──────────────────────────────────────────────────────────────────────────────

    def _passes(self, text: str) -> bool:
        """Whether this text ends no section and is no thinking."""
        return self._ends is None or (self._kind is SectionKind.ANSWER and self._ends.idle(text))

    def _run(self, text: str) -> list[Text | Reasoning]:
        out: list[Text | Reasoning] = []
        while text and self.stopped is None:
            if self._ends is not None:
                text = self._within(self._ends, text, out)
            elif self._head is not None:
                text = self._begin(text, out)
            else:
                self._visible(text, out)
                text = ""
        return out

    def _begin(self, text: str, out: list[Text | Reasoning]) -> str:
        """At the front of the reply or behind a section: is this a mark? Returns what is left to read."""
        head = (self._head or "") + text
        bare = head.lstrip()
        maybe = False
        for section, form in self._heads:
            begin, end = section.begin, section.header_end
            if not bare.startswith(begin):
                maybe = maybe or begin.startswith(bare)
                continue
            at = bare.find(end, len(begin)) if end else len(begin)
            header = bare[len(begin) : at] if at >= 0 else bare[len(begin) :]
            if not is_header(header):
                continue
            if at < 0:
                maybe = True
                continue
            self._read += len(head) - len(bare) + at + len(end)
            self._enter(section, form, section.kind_of(header))
            return bare[at + len(end) :]
        if maybe:
            self._head = head
            return ""
        self._head = None
        self._visible(head, out)
        return ""

    def _in_header(self, bare: str) -> bool:
        """Whether a reply ended within a header: there is nothing in it to show."""
        return any(section.header_end and bare.startswith(section.begin) for section, _ in self._heads)

    def _enter(self, section: Section, form: ReasoningFormat, kind: SectionKind) -> None:
        self._head, self._format, self._kind, self._fresh = None, form, kind, True
        self._gap = self._thought and kind is SectionKind.REASONING
        self._ends = StopMatcher(section.ends) if section.ends else None

    def _within(self, ends: StopMatcher, text: str, out: list[Text | Reasoning]) -> str:
        """Inside a section. Returns what is left to read behind its end."""
        part, hit, rest = ends.feed(text)
        if self._kind is SectionKind.ANSWER:
            self._visible(part, out)
            if self.stopped is not None:
                return ""
        else:
            # Tokens that came together are shared out by length: what stands behind the end is no thought.
            behind = round(self._tokens * len(rest) / len(part + (hit or "") + rest)) if rest else 0
            self._tokens -= behind
            self._reason(part, out)
            self._tokens += behind
        if hit is None:
            return ""
        self._read += len(hit)
        form = self._format
        self._ends, self._fresh, self._kind = None, True, SectionKind.ANSWER
        self._heads = [(one, form) for one in form.next] if form is not None else []
        self._head = "" if self._heads else None
        return rest

    def _reason(self, part: str, out: list[Text | Reasoning]) -> None:
        self._read += len(part)
        if self._fresh:
            part = part.lstrip()
        if part:
            self._fresh = False
            tokens = self._take_tokens()
            self.reasoning_tokens += tokens
            out.append(Reasoning(_BETWEEN + part if self._gap else part, tokens))
            self._thought, self._gap = True, False

    def _visible(self, text: str, out: list[Text | Reasoning]) -> None:
        self._read += len(text)
        if self._fresh:
            text = text.lstrip()
            self._fresh = not text
        if not text:
            return
        if self._marks is not None:
            self._gaps.append((self._read - len(text), self._read))
        part, self.stopped, _ = self._finder.feed(text)
        self._show(part, out)

    def _show(self, part: str, out: list[Text | Reasoning]) -> None:
        if part:
            marks = self._take_marks(len(part)) if self._marks is not None else ()
            out.append(Text(part, self._take_tokens(), marks))


def token_spans(text: str, logprobs: Sequence[TokenLogprob]) -> list[tuple[int, int]]:
    """Where each token lies in `text`, as [start, end) in characters.

    A token that ends inside a character is given none of it; the one that completes it gets it. The first character
    may have begun in a token that came with an earlier text.
    """
    if len(logprobs) == 1:
        return [(0, len(text))]
    raw = text.encode("utf-8", "surrogatepass")
    parts = [mark.chosen.bytes or tuple(mark.chosen.token.encode("utf-8", "surrogatepass")) for mark in logprobs]
    place = _bytes_before(raw, parts)
    spans: list[tuple[int, int]] = []
    start = 0
    for number, part in enumerate(parts, 1):
        place += len(part)
        end = len(text) if number == len(parts) else len(raw[:place].decode("utf-8", "ignore"))
        spans.append((start, end))
        start = end
    return spans


def _bytes_before(raw: bytes, parts: Sequence[Sequence[int]]) -> int:
    """How many bytes of the first character are not in these tokens: theirs begin with its continuation bytes."""
    found = 0
    for byte in chain.from_iterable(parts):
        if byte & 0xC0 != 0x80:
            break
        found += 1
    if not raw or not found:
        return 0
    return max(0, len(raw.decode("utf-8", "surrogatepass")[0].encode("utf-8", "surrogatepass")) - found)
