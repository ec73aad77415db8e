"""From an engine's text to what a reader sees: thinking split off, stop strings found and kept back.

Two steps, each reading every character once (cost per token does not grow with the reply):

1. Thinking. A reply may begin with a thinking block, or the prompt's template has already opened one. What is
   inside becomes Reasoning; the tags and the white space after them are dropped. A tag further on in the
   reply is ordinary text: models write about tags.
2. Stop strings, in the visible text only (a stop string inside the thinking ends nothing). The first one that
   is *completed* ends the reply; of several completed by the same character, the longest. Text that could still
   become a stop string is held back, at most the longest stop string less one character.

The result does not depend on how the text is cut into pieces; tests/faults/stop_strings.py holds it to that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from modules.generation.stop_strings import StopMatcher
from modules.types import Reasoning, Text, TokenLogprob


@dataclass(frozen=True, slots=True)
class ThinkingFormat:
    """One family's way to mark its thinking.

    open, close   the tags around it
    then          tags that may follow the close tag and belong to neither part
    """

    name: str
    open: str
    close: str
    then: tuple[str, ...] = ()


THINKING_FORMATS: tuple[ThinkingFormat, ...] = (
    ThinkingFormat("think", "<think>", "</think>"),
    ThinkingFormat("thinking", "<thinking>", "</thinking>"),
    ThinkingFormat("seed", "<seed:think>", "</seed:think>"),
    ThinkingFormat("gemma 4", "<|channel>thought", "<channel|>"),
    ThinkingFormat(
        "gpt-oss", "<|channel|>analysis<|message|>", "<|end|>", ("<|start|>assistant<|channel|>final<|message|>",)
    ),
)


def opened_by_prompt(prompt: str, formats: Sequence[ThinkingFormat] = THINKING_FORMATS) -> ThinkingFormat | None:
    """The format whose block a rendered prompt leaves open at its end, if one does."""
    tail = prompt[-64:].rstrip()
    return next((fmt for fmt in formats if tail.endswith(fmt.open)), None)


def left_open(text: str, formats: Sequence[ThinkingFormat] = THINKING_FORMATS) -> ThinkingFormat | None:
    """The format whose block a reply that is to be continued has opened and not closed."""
    start = text.lstrip()
    return next((fmt for fmt in formats if start.startswith(fmt.open) and fmt.close not in start), None)


class StreamParser:
    """One reply. `feed` each Text of the engine, then `flush` once; `stopped` holds the stop string that was hit.

    formats  thinking formats to look for; () for raw completions
    inside   the format whose block the prompt already opened
    logprobs whether the tokens' probabilities have to be kept in step with the text
    """

    def __init__(
        self,
        stop: Iterable[str] = (),
        formats: Sequence[ThinkingFormat] = (),
        inside: ThinkingFormat | None = None,
        logprobs: bool = False,
    ) -> None:
        self.stopped: str | None = None
        self.reasoning_tokens = 0
        self._formats = tuple(formats)
        self._finder = StopMatcher(stop)
        self._close: StopMatcher | None = None
        self._format: ThinkingFormat | None = None
        self._head: str | None = "" if formats else None  # a beginning that may still become a tag
        self._heads: tuple[str, ...] = tuple(fmt.open for fmt in self._formats)
        self._fresh = False  # white space at the front is dropped
        self._marks: deque[tuple[int, int, TokenLogprob]] | None = deque() if logprobs else None
        self._seen = 0  # characters of the engine's text so far
        self._read = 0  # characters whose part (thinking, tag or visible) is decided
        self._gaps: deque[tuple[int, int]] = deque()  # visible parts not yet sent: [start, end) in the engine's text
        self._tokens = 0
        if inside is not None:
            self._enter(inside)

    def feed(self, chunk: Text) -> Sequence[Text | Reasoning]:
        """What can be shown now. After `stopped` is set nothing more comes."""
        if self.stopped is not None:
            return ()
        text = chunk.text
        settled = self._head is None and self._close is None and not self._fresh and not self._tokens
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
        if self._close is not None:
            self._reason(self._close.flush(), out)
        elif self._head:
            head, self._head = self._head, None
            self._visible(head, out)
        self._show(self._finder.flush(), out)
        return out

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

    def _run(self, text: str) -> list[Text | Reasoning]:
        out: list[Text | Reasoning] = []
        while text and self.stopped is None:
            if self._close is not None:
                text = self._think(text, out)
            elif self._head is not None:
                text = self._begin(text, out)
            else:
                self._visible(text, out)
                text = ""
        return out

    def _begin(self, text: str, out: list[Text | Reasoning]) -> str:
        """At the front of the reply or behind a tag: is this an opening tag? Returns what is left to read."""
        head = (self._head or "") + text
        bare = head.lstrip()
        for tag in self._heads:
            if bare.startswith(tag):
                self._head = None
                self._read += len(head) - len(bare) + len(tag)
                self._opened(tag)
                return bare[len(tag) :]
        if any(tag.startswith(bare) for tag in self._heads):
            self._head = head
            return ""
        self._head = None
        self._visible(head, out)
        return ""

    def _opened(self, tag: str) -> None:
        for fmt in self._formats:
            if fmt.open == tag:
                self._enter(fmt)
                return
        self._fresh = True  # a `then` tag: the visible text begins

    def _enter(self, fmt: ThinkingFormat) -> None:
        self._head, self._format, self._fresh = None, fmt, True
        self._close = StopMatcher((fmt.close,))

    def _think(self, text: str, out: list[Text | Reasoning]) -> str:
        assert self._close is not None
        assert self._format is not None
        part, hit, rest = self._close.feed(text)
        # Tokens that came together are shared out by length: what stands behind the end of the thinking is no thought.
        behind = round(self._tokens * len(rest) / len(part + (hit or "") + rest)) if rest else 0
        self._tokens -= behind
        self._reason(part, out)
        self._tokens += behind
        if hit is None:
            return ""
        self._read += len(hit)
        self._close, self._fresh = None, True
        if self._format.then:
            self._heads, self._head = self._format.then, ""
        return rest

    def _reason(self, part: str, out: list[Text | Reasoning]) -> None:
        self._read += len(part)
        if self._fresh:
            part = part.lstrip()
        if part:
            self._fresh = False
            tokens = self._take_tokens()
            self.reasoning_tokens += tokens
            out.append(Reasoning(part, tokens))

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
