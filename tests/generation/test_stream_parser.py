"""The stream parser: thinking, stop strings, tokens' probabilities, in pieces of any size."""

from __future__ import annotations

import time

import pytest

from modules.errors import BadParameter
from modules.generation.stop_strings import StopMatcher
from modules.generation.stream_parser import StreamParser, token_spans
from modules.messages.reasoning import REASONING_FORMATS, reply_start
from modules.types import Reasoning, Text, TokenLogprob, TopLogprob
from tests.faults import stop_strings


def run(parser: StreamParser, *pieces: str) -> tuple[str, str]:
    """(thinking, visible text) of a reply in these pieces."""
    out = [one for piece in pieces for one in parser.feed(Text(piece))]
    out += parser.flush()
    thinking = "".join(one.text for one in out if isinstance(one, Reasoning))
    return thinking, "".join(one.text for one in out if isinstance(one, Text))


def mark(token: str, number: int = 0) -> TokenLogprob:
    return TokenLogprob(TopLogprob(token, -0.5, tuple(token.encode()), number))


def test_no_way_to_cut_a_text_changes_what_comes_out() -> None:
    wrong = [line for number in range(400) for line in stop_strings.check(number)[1]]
    assert not wrong, wrong[0]


def test_the_oracle_itself_notices_a_parser_that_lets_a_stop_string_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StopMatcher, "feed", lambda self, text: (text, None, ""))
    assert any(stop_strings.check(number)[1] for number in range(50))


def test_text_passes_unchanged_when_nothing_is_looked_for() -> None:
    chunk = Text("hello", 3, (mark("hello"),))
    assert StreamParser().feed(chunk) == (chunk,)


def test_the_string_completed_first_ends_the_reply() -> None:
    parser = StreamParser(["cde", "bc"])
    assert run(parser, "abcde") == ("", "a")
    assert parser.stopped == "bc"


def test_of_strings_completed_together_the_longest_counts() -> None:
    parser = StreamParser(["c", "bc", "abcd"])
    assert run(parser, "xab", "c", "d") == ("", "xa")
    assert parser.stopped == "bc"


def test_a_beginning_that_comes_to_nothing_is_given_out_at_once() -> None:
    parser = StreamParser(["###"])
    assert parser.feed(Text("a##")) == [Text("a", 1)]
    assert parser.feed(Text("b")) == [Text("##b", 1)]


def test_what_was_held_back_comes_at_the_end() -> None:
    assert run(StreamParser(["###"]), "a", "#", "#") == ("", "a##")


def test_a_stop_string_inside_the_thinking_ends_nothing() -> None:
    parser = StreamParser(["\n\n"], REASONING_FORMATS)
    assert run(parser, "<think>one\n\ntwo</think>\n\n", "three", "\n", "\nfour") == ("one\n\ntwo", "three")
    assert parser.stopped == "\n\n"


def test_a_template_that_opens_the_thinking_needs_only_the_closing_tag() -> None:
    start = reply_start("<|im_start|>assistant\n<think>\n")
    assert run(StreamParser((), REASONING_FORMATS, start), "hm", "</thi", "nk>yes") == ("hm", "yes")


def test_a_tag_in_the_middle_of_a_reply_is_ordinary_text() -> None:
    text = "The tag <think> opens it and </think> closes it."
    assert run(StreamParser((), REASONING_FORMATS), *text) == ("", text)


def test_thinking_that_never_ends_is_thinking() -> None:
    assert run(StreamParser((), REASONING_FORMATS), "<think>", "on and on </thi") == ("on and on </thi", "")


def test_the_tags_between_thinking_and_answer_of_gpt_oss_are_dropped() -> None:
    text = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>yes"
    assert run(StreamParser((), REASONING_FORMATS), *text) == ("hm", "yes")


@pytest.mark.parametrize(
    ("written", "rest", "expected"),
    [
        ("<think>so far", " and on</think>yes", (" and on", "yes")),
        ("<think>so</think> far", " away <think>", ("", " away <think>")),
        ("so far", "<think>", ("", "<think>")),
        ("", "<think>hm</think>yes", ("hm", "yes")),
        ("<think>so far</think>\n", "\nyes", ("", "yes")),
        ("<|channel|>analysis<|message|>a", "b<|end|><|start|>assistant<|channel|>final<|message|>c", ("b", "c")),
    ],
)
def test_a_reply_goes_on_in_the_section_it_was_cut_in(written: str, rest: str, expected: tuple[str, str]) -> None:
    parser = StreamParser(["far"], REASONING_FORMATS)
    parser.skip(written)
    assert run(parser, *rest) == expected


def test_thinking_tokens_are_counted_with_their_tags() -> None:
    parser = StreamParser((), REASONING_FORMATS)
    run(parser, "<think>", "a", "b", "</think>", "c")
    assert parser.reasoning_tokens == 3


def test_tokens_that_arrive_together_are_shared_between_thinking_and_answer() -> None:
    parser = StreamParser((), REASONING_FORMATS)
    out = [*parser.feed(Text("<think>one two</think>" + "answer " * 11, 100)), *parser.flush()]
    shown = sum(one.tokens for one in out if isinstance(one, Text))
    assert parser.reasoning_tokens + shown == 100
    assert 10 < parser.reasoning_tokens < 30  # 22 of 99 characters


def test_probabilities_stay_with_the_text_they_belong_to() -> None:
    parser = StreamParser(["STOP"], logprobs=True)
    tokens = ["he", "llo S", "TO", "x S", "TOP", " more"]
    out = [one for n, token in enumerate(tokens) for one in parser.feed(Text(token, 1, (mark(token, n),)))]
    texts = [one for one in out if isinstance(one, Text)]
    assert "".join(one.text for one in texts) == "hello STOx "
    assert [m.chosen.token_id for one in texts for m in one.logprobs] == [0, 1, 2, 3]
    assert parser.stopped == "STOP"


def test_a_character_made_of_several_tokens_belongs_to_the_last_of_them() -> None:
    raw = "a👍".encode()
    marks = [TokenLogprob(TopLogprob("?", -1.0, tuple(part))) for part in (raw[:1], raw[1:3], raw[3:])]
    assert token_spans("a👍", marks) == [(0, 1), (1, 1), (1, 2)]


def test_a_character_that_began_in_an_earlier_text_moves_no_token() -> None:
    def spans(text: str, *parts: bytes) -> list[tuple[int, int]]:
        return token_spans(text, [TokenLogprob(TopLogprob("?", -1.0, tuple(part))) for part in parts])

    first, second = "👍".encode()[:3], "👍".encode()[3:]
    assert spans("👍 bet", second, b" bet") == [(0, 1), (1, 5)]
    assert spans("👍🙂", second, "🙂".encode()) == [(0, 1), (1, 2)]
    assert spans("x👍", b"x", first, second) == [(0, 1), (1, 1), (1, 2)]


def test_stop_strings_of_absurd_length_are_refused() -> None:
    with pytest.raises(BadParameter):
        StreamParser(["x" * 30_000])


def test_the_cost_of_a_token_does_not_grow_with_the_reply() -> None:
    def seconds(count: int) -> float:
        parser = StreamParser(["<|end|>", "\n###"], REASONING_FORMATS)
        began = time.process_time()
        for _ in range(count):
            parser.feed(Text(" a<\n"))
        return time.process_time() - began

    seconds(1000)
    short, long = (min(seconds(count) for _ in range(5)) for count in (3000, 30_000))
    assert long < 40 * short  # ten times the text; a parser that looks back would take a hundred times as long
