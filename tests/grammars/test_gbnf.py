"""GBNF is read as llama.cpp reads it, and exactly its texts fit."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.errors import BadParameter
from tests.loaders.torch_sampling.making import torch

from loaders.torch_sampling.grammar import Grammar, GrammarTokenizer  # isort: skip
from modules.grammars.gbnf import read_gbnf  # isort: skip

assert torch is not None
PIECES = [*(bytes([number]) for number in range(256)), b"<end>", b"<think>"]
END, THINK = len(PIECES) - 2, len(PIECES) - 1
SIZE = len(PIECES)


@pytest.fixture(scope="module")
def tokens() -> GrammarTokenizer:
    """Every byte is a token. (Of several ways to cut a text that is forced, llguidance allows only the usual one.)"""
    return GrammarTokenizer.from_pieces(PIECES, frozenset({END}), frozenset({THINK}))


def fits(grammar: str, text: str | list[int], tokens: GrammarTokenizer) -> bool:
    """Whether the text, byte by byte, is one that the grammar lets end."""
    state = Grammar.for_gbnf(grammar, tokens)
    for byte in text.encode() if isinstance(text, str) else text:
        if state.complete or not state.allowed(SIZE)[byte]:
            return False
        state.accept(byte)
    return state.complete or bool(state.allowed(SIZE)[END])


JSON = r"""
root   ::= object  # llama.cpp's grammars/json.gbnf in short
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
"""


@pytest.mark.parametrize(
    ("grammar", "good", "bad"),
    [
        ('root ::= "a" "b"', ["ab"], ["a", "abb", "b", ""]),
        # a longest match would swallow what has to follow
        ('root ::= word "x"\nword ::= [a-z]+', ["abcx", "xx"], ["abc", "x"]),
        ('root ::= ("true" | [a-z])+', ["trx", "true", "t"], ["T", ""]),
        ('root ::= list\nlist ::= "(" list* ")"', ["()", "(()())"], ["(()", ")"]),
        ('root ::= [a-z]+ tail\ntail ::= "a" tail | "."', ["aa.", "zaa."], ["a", "."]),
        ('root ::= "é" "\\u00e9" "\\x41" "\\U0001F600"', ["ééA😀"], ["éeA😀"]),
        ("root ::= . .", ["a\n", "é😀"], ["a"]),
        ("root ::= [^a\\n]", ["b", "é", "😀"], ["a", "\n"]),
        ("root ::= [\\]\\[a-]+", ["][-a"], ["b"]),
        ("root ::= [^]", ["a", "]"], []),
        ('root ::= "/" [/*] "\\"" "\\\\"', ['//"\\', '/*"\\'], ['/"\\']),
        ('root ::= "a"{2} "b"{1,} "c"{0,2} "d"?', ["aab", "aabbbccd"], ["ab", "aabccc"]),
        ('root ::= "a"+?', ["", "aa"], ["b"]),
        ('root ::= ""', [""], ["a"]),
        ('root ::= | "a"', ["", "a"], ["aa"]),
        ('root ::= a | b\na ::=\n  "x"\nb ::= "y" |\n  "z"', ["x", "y", "z"], ["xy"]),
        ('root ::= ("a"\n  | "b"  # two\n)+', ["ab"], ["c"]),
        ('  root ::= some-Rule_1\r\n\r\nsome-Rule_1::="x"', ["x"], ["y"]),
        ('root ::= expr\nexpr ::= expr "+" expr | [0-9]', ["1+2+3"], ["1+", "+1"]),
        (JSON, ['{"a": [1, -2.5e3, {"b": "é\\n"}], "c": true}', "{}"], ['{"a": }', '{"a" 1}', "[1]", '{"a": tru}']),
    ],
)
def test_exactly_its_texts_fit(grammar: str, good: list[str], bad: list[str], tokens: GrammarTokenizer) -> None:
    for text in good:
        assert fits(grammar, text, tokens), text
    for text in bad:
        assert not fits(grammar, text, tokens), text


def test_a_token_of_the_model_can_be_asked_for(tokens: GrammarTokenizer) -> None:
    assert fits(f'root ::= <[{THINK}]> "a"', [THINK, 97], tokens)
    assert fits('root ::= <think> "a"', [THINK, 97], tokens)
    assert not fits('root ::= <think> "a"', "<think>a", tokens)
    assert not fits('root ::= "<think>"', [THINK], tokens)  # as text it is text


@pytest.mark.parametrize(
    ("grammar", "said"),
    [
        ('rot ::= "a"', "no rule called root"),
        ('root ::= "a"\n\nroot ::= "b"', "line 3: the rule 'root' is there twice"),
        ('root ::= "a"\n  other ::= thing', "line 2: there is no rule called 'thing'"),
        ('root ::= "a', "line 1: a literal has no end"),
        ("root ::= [a", "a class of characters has no end"),
        ("root ::= []", "a class of characters is empty"),
        ("root ::= [z-a]", "ends below where it begins"),
        ('root ::= "\\q"', "\\q is no escape"),
        ('root ::= "\\u12"', "\\u is no escape"),
        ('root ::= "\\ud800"', "\\ud800 is no character"),
        ('root ::= "a"{x}', "a repetition has to be"),
        ('root ::= "a"{3,2}', "a repetition ends below"),
        ('root ::= ("a"', "')' was expected"),
        ('root = "a"', "'::=' was expected"),
        ('root ::= "a" )', "')' was not expected"),
        ("root ::= <think", "a token has to be written"),
        ("root ::= <nosuch>", "unknown special token"),
        ("root ::= !<think>", "cannot be enforced by this loader"),
        ("root ::= root", "no text fits it"),
        ('%llguidance {}\nstart: "a"', "the name of a rule was expected"),
        ("", "no rule called root"),
        ("root ::= " + "(" * 200, "nested more than 100 deep"),
        ("root ::= " + '"a"' * 100_000, "characters"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(grammar: str, said: str, tokens: GrammarTokenizer) -> None:
    with pytest.raises(BadParameter) as caught:
        Grammar.for_gbnf(grammar, tokens)
    assert said in caught.value.message
    assert caught.value.param == "grammar"
    assert caught.value.hint
    assert len(caught.value.message) < 500


@given(st.text('root:="ab|()[]{}*+?<>!\\#.^- \n19,x', max_size=60))
@settings(deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    for grammar in (text, "root ::= " + text):
        with contextlib.suppress(BadParameter):  # any other error fails
            assert "root" in read_gbnf(grammar)


EXPRESSIONS = st.recursive(
    st.sampled_from([("a",), ("b",), ("[ab]",), ("[^a]",), ("abc",)]),
    lambda inner: (
        st.tuples(st.just("cat"), inner, inner)
        | st.tuples(st.just("or"), inner, inner)
        | st.tuples(st.sampled_from(["*", "+", "?", "{1,2}"]), inner)
    ),
    max_leaves=6,
)


def as_gbnf(tree: tuple[object, ...]) -> str:
    return _written(tree, lambda text: text if text[0] == "[" else f'"{text}"', " ", " | ")


def as_regex(tree: tuple[object, ...]) -> str:
    return _written(tree, lambda text: text, "", "|")


def _written(tree, leaf, gap: str, bar: str) -> str:  # type: ignore[no-untyped-def]
    match tree:
        case (text,):
            return leaf(text)
        case ("cat", first, second):
            return f"({_written(first, leaf, gap, bar)}{gap}{_written(second, leaf, gap, bar)})"
        case ("or", first, second):
            return f"({_written(first, leaf, gap, bar)}{bar}{_written(second, leaf, gap, bar)})"
        case (mark, inner):
            return f"({_written(inner, leaf, gap, bar)}){mark}"
    raise AssertionError(tree)


@given(EXPRESSIONS, st.lists(st.text("abc", max_size=6), max_size=5), st.booleans())
@settings(deadline=None, max_examples=150)
def test_a_grammar_without_recursion_is_its_regular_expression(
    tree: tuple[object, ...], texts: list[str], recursive: bool
) -> None:
    """And so is the same one with recursion in a corner that is never used, which is compiled the other way."""
    tokens = GrammarTokenizer.from_pieces(PIECES, frozenset({END}))
    corner = ' | "Q" corner\ncorner ::= "Q" corner "Q" | "Q"' if recursive else ""
    for text in texts:
        wanted = re.fullmatch(as_regex(tree), text) is not None
        assert fits(f"root ::= {as_gbnf(tree)}{corner}", text, tokens) == wanted, (as_gbnf(tree), text)
