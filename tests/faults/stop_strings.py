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

from modules.generation.stream_parser import THINKING_FORMATS, StreamParser, ThinkingFormat
from modules.types import Reasoning, Text, TokenLogprob, TopLogprob

LETTERS = ["a", "b", "ab", "\n", " ", "é", "ß", "語", "👍", "👩‍👩‍👧", "e\u0301", "\u200d", "<", ">", "</", "###",
           "User:"]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A text, what ends it, and how thinking is read: not at all, at the front, or already begun."""

    text: str
    stops: tuple[str, ...]
    formats: tuple[ThinkingFormat, ...]
    inside: ThinkingFormat | None


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
    fmt = rng.choice(THINKING_FORMATS)
    if way == 0:
        return Case(body, stops, (), None)
    then = rng.choice([*fmt.then, "", ""]) if fmt.then else ""
    cut = rng.randint(0, len(body))
    close = fmt.close if rng.random() < 0.8 else fmt.close[: rng.randint(0, len(fmt.close))]
    thought = body[:cut] + close + rng.choice(["", "\n\n", " "]) + then + rng.choice(["", "\n"]) + body[cut:]
    if way == 1:
        return Case(thought, stops, THINKING_FORMATS, fmt)
    front = rng.choice(["", "\n", "  ", "x"])
    tag = fmt.open if rng.random() < 0.8 else fmt.open[: rng.randint(0, len(fmt.open))]
    return Case(front + tag + rng.choice(["", "\n"]) + thought, stops, THINKING_FORMATS, None)


def oracle(case: Case, spans: list[tuple[int, int]]) -> Outcome:
    """Read the whole text at once, as plainly as possible."""
    text, fmt, place = case.text, case.inside, 0
    if fmt is None:
        bare = len(text) - len(text.lstrip())
        for candidate in case.formats:
            if text.startswith(candidate.open, bare):
                fmt, place = candidate, bare + len(candidate.open)
    thinking, start = "", 0
    if fmt is not None:
        end = text.find(fmt.close, place)
        thinking = (text[place:] if end < 0 else text[place:end]).lstrip()
        start = len(text) if end < 0 else end + len(fmt.close)
        start += len(text[start:]) - len(text[start:].lstrip())
        for tag in fmt.then:
            if text.startswith(tag, start):
                start += len(tag)
                start += len(text[start:]) - len(text[start:].lstrip())
    visible, stopped, cut = text[start:], None, len(text)
    for end in range(1, len(visible) + 1):
        found = [stop for stop in case.stops if visible[:end].endswith(stop)]
        if found:
            stopped = max(found, key=len)
            visible = visible[: end - len(stopped)]
            cut = start + len(visible)
            break
    tokens = tuple(
        number for number, (a, b) in enumerate(spans) if max(a, start) < min(b, cut) or (a == b and start <= a < cut)
    )
    return Outcome(thinking, visible, stopped, tokens)


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
    parser = StreamParser(case.stops, case.formats, case.inside, logprobs=True)
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
