"""Grammars and schemas while a reply is made: nothing the mask forbids is ever chosen, and a complete text ends it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modules.errors import BadParameter, EngineError
from tests.engine.making import MODEL
from tests.loaders.torch_sampling.making import sampler, torch, vocabulary

from loaders.torch_sampling.grammar import Grammar, GrammarTokenizer  # isort: skip

WORDS = [*(bytes([letter]) for letter in range(32, 127)), b"ab", b"true", b'{"', b"</s>"]
END = len(WORDS) - 1
GREEDY = {"temperature": 0.0}
WILD: list[dict[str, Any]] = [
    {}, {"top_k": 1}, {"min_p": 1.0}, {"presence_penalty": 2.0, "frequency_penalty": 2.0, "dry_multiplier": 5.0},
    {"logit_bias": {str(token): 100.0 for token in range(0, 90, 3)}}, {"xtc_probability": 1.0, "xtc_threshold": 0.0},
    {"mirostat_mode": "1"}, {"mirostat_mode": "2", "mirostat_tau": 0.0}, {"adaptive_target": 0.9},
    {"no_repeat_ngram_size": 1}, {"temperature": 5.0, "typical_p": 0.1}, {"smoothing_factor": 5.0, "top_n_sigma": 0.1},
    GREEDY, {"dynamic_temperature": True, "dynatemp_low": 0.0, "dynatemp_high": 3.0, "tfs": 0.1},
]  # fmt: skip


@pytest.fixture(scope="module")
def tokens() -> GrammarTokenizer:
    return GrammarTokenizer.from_pieces(WORDS, frozenset({END}))


def reply(params: dict[str, Any], grammar: Grammar, most: int = 200, likes: int | None = None) -> tuple[str, bool]:
    """The text a random model makes, and whether it ended by itself. `likes`: a token it always prefers."""
    one = sampler(params, vocabulary=vocabulary(pieces=WORDS, eos=[END]), prompt=[5, 6, 7], grammar=grammar)
    rows = torch.Generator().manual_seed(4)
    text = b""
    for _ in range(most):
        row = torch.randn(len(WORDS), generator=rows) * 5
        if likes is not None:
            row[likes] = 60.0
        picked = one.pick(row)
        text += b"" if picked.end_token else WORDS[picked.token]
        if picked.ended:
            return text.decode(), True
    return text.decode(), False


@pytest.mark.parametrize("params", WILD, ids=str)
def test_no_sampler_gets_past_the_mask(params: dict[str, Any], tokens: GrammarTokenizer) -> None:
    text, ended = reply(params, Grammar.for_gbnf("root ::= [ab]{5} ([0-9] | [xyz]){3,6}", tokens))
    assert ended
    assert set(text[:5]) <= {"a", "b"}
    assert 3 <= len(text[5:]) <= 6
    assert set(text[5:]) <= set("0123456789xyz")


def test_a_reply_ends_with_the_token_that_completes_it(tokens: GrammarTokenizer) -> None:
    one = sampler(GREEDY, vocabulary=vocabulary(pieces=WORDS, eos=[END]), grammar=Grammar.for_gbnf(
        'root ::= "ab"', tokens))  # fmt: skip
    row = torch.zeros(len(WORDS))
    row[WORDS.index(b"ab")] = 1.0
    picked = one.pick(row)
    assert (WORDS[picked.token], picked.ended, picked.end_token) == (b"ab", True, False)


def test_a_text_that_could_go_on_ends_where_the_model_ends_it(tokens: GrammarTokenizer) -> None:
    assert reply(GREEDY, Grammar.for_gbnf("root ::= [ab]{3,9}", tokens), likes=END) in [
        (text, True) for text in (first + second for first in ("ab", "aa", "ba", "bb", "aba", "bab", "aab", "abb")
                                  for second in ("a", "b", "ab", ""))
        if 3 <= len(text) <= 4
    ]  # fmt: skip


def test_the_end_cannot_be_ignored_where_nothing_else_fits(tokens: GrammarTokenizer) -> None:
    """The grammar goes first, and it is said."""
    known = vocabulary(pieces=WORDS, eos=[END])
    one = sampler({"ban_eos_token": True}, vocabulary=known, grammar=Grammar.for_gbnf('root ::= ""', tokens))
    picked = one.pick(torch.zeros(len(WORDS)))
    assert (picked.token, picked.ended, picked.end_token) == (END, True, True)
    assert "The grammar allowed nothing but" in one.notices[0].message


def test_a_grammar_that_allows_nearly_everything_still_forbids_the_rest(tokens: GrammarTokenizer) -> None:
    for params in (GREEDY, {}):
        text, _ = reply(params, Grammar.for_gbnf("root ::= [^q]*", tokens), most=10, likes=WORDS.index(b"q"))
        assert text
        assert "q" not in text


def test_an_ignored_end_is_not_taken_where_more_fits(tokens: GrammarTokenizer) -> None:
    text, ended = reply({"ban_eos_token": True}, Grammar.for_gbnf('root ::= "a"+', tokens), most=30, likes=END)
    assert text.strip("a") == ""
    assert not ended


SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer"}},
          "required": ["name", "age"], "additionalProperties": False}  # fmt: skip


@pytest.mark.parametrize("params", [{}, GREEDY, WILD[3]], ids=str)
def test_a_schema_is_kept_to(params: dict[str, Any], tokens: GrammarTokenizer) -> None:
    text, ended = reply(params, Grammar.for_schema(SCHEMA, tokens), most=2000)
    assert ended
    found = json.loads(text)
    assert list(found) == ["name", "age"]
    assert isinstance(found["age"], int)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "array", "uniqueItems": True}, 'Unimplemented keys: ["uniqueItems"]'),
        ({"type": "nonsense"}, "nonsense"),
        ({"$ref": "#/nowhere"}, "nowhere"),
    ],
)
def test_a_schema_that_cannot_be_enforced_is_refused_in_the_compilers_words(
    schema: dict[str, Any], said: str, tokens: GrammarTokenizer
) -> None:
    with pytest.raises(BadParameter) as caught:
        Grammar.for_schema(schema, tokens)
    assert said in caught.value.message
    assert (caught.value.param, caught.value.code) == ("response_format", "schema_unsupported")
    assert caught.value.hint


def test_a_compiled_grammar_is_used_again_from_its_start(tokens: GrammarTokenizer) -> None:
    first = Grammar.for_gbnf('root ::= "ab" "c"', tokens)
    first.accept(WORDS.index(b"ab"))
    again = Grammar.for_gbnf('root ::= "ab" "c"', tokens)
    assert again.allowed(len(WORDS))[WORDS.index(b"ab")]
    assert first.allowed(len(WORDS)).nonzero()[0].tolist() == [WORDS.index(b"c")]


def test_a_grammar_that_leads_nowhere_is_an_error_and_no_token(tokens: GrammarTokenizer) -> None:
    grammar = Grammar.for_gbnf('root ::= "a" never\nnever ::= never "b"', tokens)
    grammar.accept(WORDS.index(b"a"))
    with pytest.raises(EngineError, match="cannot be followed further") as caught:
        grammar.allowed(len(WORDS))
    assert (caught.value.code, bool(caught.value.hint)) == ("grammar_failed", True)


def test_a_token_that_was_not_allowed_is_not_taken_in_silence(tokens: GrammarTokenizer) -> None:
    with pytest.raises(EngineError, match="refused a token"):
        Grammar.for_gbnf('root ::= "a"', tokens).accept(WORDS.index(b"c"))


def test_logits_beyond_the_tokenizer_are_forbidden(tokens: GrammarTokenizer) -> None:
    mask = Grammar.for_gbnf("root ::= .*", tokens).allowed(len(WORDS) + 50)
    assert len(mask) == len(WORDS) + 50
    assert not mask[len(WORDS) :].any()
    assert mask[END]


def test_a_model_without_a_token_that_ends_a_reply_ends_with_its_grammar() -> None:
    without = GrammarTokenizer.from_pieces(WORDS, frozenset())
    known = vocabulary(pieces=WORDS)
    for written, said in (('root ::= "abc"', "abc"), ('root ::= "x" | "xy"', "xy"), ("root ::= [0-9]+", None)):
        one = sampler(GREEDY, vocabulary=known, grammar=Grammar.for_gbnf(written, without))
        row, text = torch.zeros(len(WORDS)), ""
        for _ in range(30):
            picked = one.pick(row)
            text += WORDS[picked.token].decode()
            if picked.ended:
                break
        assert picked.ended is (said is not None)
        assert text == (said or text)
        assert said or text.isdigit(), "what may always go on goes on to the limit"


needs_model = pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The starter model's, as Transformers reads it from its file."""
    pytest.importorskip("gguf", reason="gguf is not installed (python3 start.py install transformers)")
    transformers = pytest.importorskip("transformers", reason="Transformers is not installed")
    folder = Path(tmp_path_factory.mktemp("tokenizer"))
    (folder / MODEL.name).symlink_to(MODEL)
    return transformers.AutoTokenizer.from_pretrained(str(folder), gguf_file=MODEL.name)


@pytest.mark.real_model
@needs_model
@pytest.mark.parametrize("kind", ["schema", "grammar"])
def test_a_real_tokenizers_tokens_are_masked(tokenizer: Any, kind: str) -> None:
    size, eos = len(tokenizer), frozenset({tokenizer.eos_token_id})
    tokens = GrammarTokenizer.from_transformers(tokenizer, eos, size + 64)
    written = r'root ::= "{\"name\": \"" [^"]* "\", \"age\": " [0-9]+ "}"'
    grammar = Grammar.for_schema(SCHEMA, tokens) if kind == "schema" else Grammar.for_gbnf(written, tokens)
    for token in tokenizer('{"name": "Zoë 🎉", "age": 31}', add_special_tokens=False)["input_ids"]:
        mask = grammar.allowed(size + 64)
        assert mask[token]
        assert not mask[size:].any()
        assert not mask[tokenizer.eos_token_id]
        grammar.accept(token)
    assert grammar.complete


@pytest.mark.real_model
@needs_model
def test_a_real_tokenizer_without_an_end_keeps_to_its_own_tokens_and_completes(tokenizer: Any) -> None:
    for padding in (0, 64):  # logits that are of no token
        size = len(tokenizer) + padding
        grammar = Grammar.for_schema(SCHEMA, GrammarTokenizer.from_transformers(tokenizer, frozenset(), size))
        for token in tokenizer('{"name": "Zoë 🎉", "age": 31}', add_special_tokens=False)["input_ids"]:
            mask = grammar.allowed(size)
            assert mask[token]
            assert not mask[len(tokenizer) :].any()
            grammar.accept(token)
        assert grammar.complete


def test_a_tokenizer_that_is_not_fast_is_refused() -> None:
    with pytest.raises(ValueError, match="fast"):
        GrammarTokenizer.from_transformers(object(), frozenset({1}))
