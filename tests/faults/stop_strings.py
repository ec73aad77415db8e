"""Stop strings, thinking tags and multi-byte characters, split at every point: no difference from the whole text.

    python tests/faults/stop_strings.py [cases]        10,000 unless told; prints its figure, ends 1 on a difference

Each case is a text, its stop strings and how thinking is to be read. Its UTF-8 bytes are the tokens' bytes; it
is cut in two at every byte, into single bytes, and at random places, and each time the parser has to give exactly
what an oracle finds that sees the whole text at once: the same thinking, the same visible text, the same stop
string, the same tokens' probabilities.
"""

from __future__ import annotations

import codecs
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from modules.generation.stream_parser import StreamParser
from modules.messages.reasoning import (
    AT_START,
    REASONING_FORMATS,
    ReasoningFormat,
    ReplyStart,
    Section,
    SectionKind,
    is_header,
)
from modules.types import Reasoning, Text, TokenLogprob, TopLogprob

LETTERS = ["a", "b", "ab", "\n", " ", "é", "ß", "語", "👍", "👩‍👩‍👧", "e\u0301", "\u200d", "<", ">", "</", "###",
           "User:"]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A text, what ends it, and how thinking is read: not at all, at the front, or already begun."""

    text: str
    stops: tuple[str, ...]
    formats: tuple[ReasoningFormat, ...]
    start: ReplyStart = AT_START


@dataclass(frozen=True)
class Outcome:
    """What a reader gets."""

    thinking: str
    visible: str
    stop: str | None
    tokens: tuple[int, ...]


def make(rng: random.Random) -> Case:
    """A case in which beginnings of stop strings and tags are common."""

    def some(low: int, high: int) -> str:
        return "".join(rng.choice(LETTERS) for _ in range(rng.randint(low, high)))

    stops = tuple(some(1, 4) for _ in range(rng.randint(0, 4)))
    parts = [some(0, 6)]
    for stop in stops:
        parts += [stop[: rng.randint(0, len(stop))], some(0, 3)]
    if rng.random() < 0.4:
        parts.append(rng.choice([*stops, "x"]))
    rng.shuffle(parts)
    body = "".join(parts)
    way = rng.randrange(4)
    if way == 0:
        return Case(body, stops, ())
    form = rng.choice(REASONING_FORMATS)
    sections = [rng.choice(form.start or form.prompt_start), *(rng.choice(form.next) for _ in range(3) if form.next)]
    texts = [_section(rng, one, body if number == 0 else some(0, 4)) for number, one in enumerate(sections)]
    behind = rng.choice(["", "\n"]) + some(0, 4)
    if way == 1:
        opened = sections[0]
        inside = texts[0].removeprefix(opened.begin)
        return Case(
            "".join([inside, *texts[1:], behind]), stops, REASONING_FORMATS, ReplyStart(opened, form, opened.kind)
        )
    return Case("".join([rng.choice(["", "\n", "  ", "x"]), *texts, behind]), stops, REASONING_FORMATS)


def _section(rng: random.Random, section: Section, body: str) -> str:
    """A section with its marks, of which one in five is cut off."""

    def broken(mark: str) -> str:
        return mark if rng.random() < 0.8 else mark[: rng.randint(0, len(mark))]

    words = ["analysis", "commentary to=functions.f <|constrain|>json", "final", " to=self", ""]
    header = rng.choice(words) + broken(section.header_end) if section.header_end else ""
    end = broken(rng.choice(section.ends)) if section.ends else ""
    return broken(section.begin) + header + rng.choice(["", "\n"]) + body + end + rng.choice(["", "\n\n", " "])


def _head(text: str, place: int, heads: list[tuple[Section, ReasoningFormat]]) -> tuple[int, SectionKind, int] | None:
    """Which of these begins at `place`, what it is, and where its text starts; -1 for a header that is cut off."""
    cut_off = None
    for number, (section, _) in enumerate(heads):
        if not text.startswith(section.begin, place):
            continue
        start = place + len(section.begin)
        if not section.header_end:
            return number, section.kind, start
        end = text.find(section.header_end, start)
        if is_header(text[start : end if end >= 0 else len(text)]):
            if end >= 0:
                return number, section.kind_of(text[start:end]), end + len(section.header_end)
            cut_off = number, section.kind, -1
    return cut_off


def oracle(case: Case, spans: list[tuple[int, int]]) -> Outcome:
    """Read the whole text at once, as plainly as possible."""
    text, place, thoughts, shown = case.text, 0, [], []
    heads = [(one, form) for form in case.formats for one in form.start]
    section, form, kind = case.start.section, case.start.format, case.start.kind
    fresh = section is not None
    while True:
        if section is None:
            bare = place + len(text[place:]) - len(text[place:].lstrip())
            found = _head(text, bare, heads)
            if found is None or found[2] < 0:
                if found is None:
                    shown.append((bare if fresh else place, len(text)))
                break
            number, kind, place = found
            section, form = heads[number]
        ends = [(text.find(end, place) + len(end), -len(end)) for end in section.ends if end in text[place:]]
        after, size = min(ends, default=(len(text), 0))
        start, stop = place, after + size
        start += len(text[start:stop]) - len(text[start:stop].lstrip())
        if kind is SectionKind.REASONING:
            thoughts += [(start, text[start:stop])] if start < stop else []
        else:
            shown.append((start, stop))
        if not ends or form is None:
            break
        place, section, fresh = after, None, True
        heads = [(one, form) for one in form.next]
    places = [number for start, stop in shown for number in range(start, stop)]
    visible, stopped, over = "".join(text[number] for number in places), None, len(text)
    for end in range(1, len(visible) + 1):
        hits = [stop for stop in case.stops if visible[:end].endswith(stop)]
        if hits:
            stopped, over = max(hits, key=len), places[end - 1]  # what is behind it is not read any more
            visible = visible[: end - len(stopped)]
            break
    kept = set(places[: len(visible)])
    tokens = tuple(number for number, (a, b) in enumerate(spans) if kept & set(range(a, max(b, a + 1))))
    return Outcome("\n\n".join(thought for start, thought in thoughts if start < over), visible, stopped, tokens)


def chunks(pieces: list[bytes]) -> Iterator[tuple[Text, list[tuple[int, int]]]]:
    """Pieces of bytes as an engine sends them: whole characters only, one probability per piece; and their places."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    waiting: list[TokenLogprob] = []
    spans: list[tuple[int, int]] = []
    place = 0
    for number, piece in enumerate(pieces):
        text = decoder.decode(piece)
        token = piece.decode("utf-8", "replace")
        waiting.append(TokenLogprob(TopLogprob(token, -0.1, tuple(piece), number)))
        spans.append((place, place + len(text)))
        place += len(text)
        if text:
            yield Text(text, len(waiting), tuple(waiting)), spans
            waiting, spans = [], []


def parse(case: Case, pieces: list[bytes]) -> tuple[Outcome, list[tuple[int, int]]]:
    """What the parser makes of the pieces, and where each piece lies in the text."""
    parser = StreamParser(case.stops, case.formats, case.start, logprobs=True)
    thinking, visible, tokens, all_spans = "", "", [], []
    counted = fed = 0
    for chunk, spans in chunks(pieces):
        all_spans += spans
        if parser.stopped is not None:
            continue
        fed += chunk.tokens
        for out in parser.feed(chunk):
            counted += out.tokens
            if isinstance(out, Reasoning):
                thinking += out.text
            else:
                visible += out.text
                tokens += [mark.chosen.token_id for mark in out.logprobs]
    for out in parser.flush():
        counted += out.tokens
        if isinstance(out, Reasoning):
            thinking += out.text
        else:
            visible += out.text
            tokens += [mark.chosen.token_id for mark in out.logprobs]
    assert counted <= fed
    return Outcome(thinking, visible, parser.stopped, tuple(t for t in tokens if t is not None)), all_spans


def cuts(raw: bytes, rng: random.Random) -> Iterator[list[bytes]]:
    """In two at every byte, into single bytes, and three times at random."""
    yield [raw] if raw else []
    for place in range(1, len(raw)):
        yield [raw[:place], raw[place:]]
    yield [raw[n : n + 1] for n in range(len(raw))]
    for _ in range(3):
        places = sorted(rng.sample(range(1, len(raw)), rng.randint(0, len(raw) - 1))) if len(raw) > 1 else []
        yield [raw[a:b] for a, b in zip([0, *places], [*places, len(raw)], strict=True) if b > a]


def check(number: int) -> tuple[int, list[str]]:
    """One case: how many splits were tried, and the differences."""
    rng = random.Random(number)
    case = make(rng)
    tried, wrong = 0, []
    for pieces in cuts(case.text.encode(), rng):
        got, spans = parse(case, pieces)
        tried += 1
        if got != (expected := oracle(case, spans)):
            wrong.append(f"case {number}: {case}\n  pieces   {pieces}\n  expected {expected}\n  got      {got}")
    return tried, wrong


def main() -> int:
    """Run the cases; print the figure."""
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    began, tried, wrong = time.monotonic(), 0, []
    for number in range(cases):
        splits, differences = check(number)
        tried += splits
        wrong += differences
    print(f"{cases:,} cases, {tried:,} splits, {time.monotonic() - began:.1f} s: {len(wrong)} differences")
    print("\n".join(wrong[:3]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
