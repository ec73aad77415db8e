"""What every loader has to do. A loader's test file subclasses Conformance and gives it an engine.

What a loader's spec does not offer (its features) is not asked of it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import Mapping
from typing import Any

import psutil
import pytest

from loaders import built_in_specs
from loaders.base import Feature, features_of
from modules.drivers.connect import ConnectedEngine
from modules.engine.process import WorkerProcess
from modules.generation.stream_parser import StreamParser
from modules.sampling.params import BY_NAME, PARAMS, ignored
from modules.types import Chunk, GenerationRequest, Message, Text
from tests.engine.making import ask, collect, done_of, failed_of, text_of, until
from tests.loaders.refusals import IN_THE_SUITE, SHOWN_ELSEWHERE, refused
from tests.loaders.sampler_cases import BASE, CASES, GREEDY, STORY, Case

Loaded = tuple[ConnectedEngine, WorkerProcess]
ODD_VALUES: Mapping[str, Any] = {"dry_sequence_breakers": ["\n", "é"], "sampler_priority": ["top_p", "temperature"],
                                 "logit_bias": {"5": -100.0, "6": 1.5}, "mirostat_mode": "2"}  # fmt: skip


def odd(name: str) -> Any:
    """A value of that parameter that is not neutral."""
    param = BY_NAME[name]
    if name in ODD_VALUES:
        return ODD_VALUES[name]
    if param.kind == "bool":
        return True
    value = param.check(max(param.low or 0, {"int": 3, "float": 0.8}[param.kind]))
    return value if value != param.default else param.check(param.high)


def cell(name: str) -> Any:
    """Names the cell of the table (loader × what it can) a test fills; see tests/conformance_table.py."""
    return pytest.mark.cell(name)


class Conformance:
    """The suite. `loaded` is (engine, its worker); `column` is its name in the table, "" = the loader's."""

    column = ""

    @pytest.fixture(autouse=True)
    def in_the_table(self, request: pytest.FixtureRequest, record_property: Any, loaded: Loaded) -> None:
        """Tells the table which cell this test fills."""
        for mark in request.node.iter_markers("cell"):
            if "loader" in mark.kwargs:
                continue
            record_property("cell", [self.column or loaded[0].spec.name, mark.args[0]])

    long_request = ask("Once upon a time", params={"max_tokens": 400, "ban_eos_token": True, "seed": 1})

    def unicode_request(self) -> tuple[GenerationRequest, str]:
        """A request and the text, with characters over several tokens, that it is answered with."""
        raise NotImplementedError

    @cell("stream")
    async def test_a_reply_streams_in_pieces_and_ends_with_figures_that_fit(self, loaded: Loaded) -> None:
        engine, _ = loaded
        chunks = await collect(engine, dataclasses.replace(self.long_request, params={"max_tokens": 30, "seed": 3}))
        done = done_of(chunks)
        pieces = [chunk for chunk in chunks if isinstance(chunk, Text)]
        assert len(pieces) > 1
        assert all(piece.text for piece in pieces)
        assert done.stats.completion_tokens >= sum(piece.tokens for piece in pieces) > 0
        assert done.stats.prompt_tokens > 0
        assert done.stats.context_limit == engine.info.context
        assert done.stats.first_token_ms > 0
        assert done.stats.seed == 3

    async def test_a_limit_is_kept_and_said(self, loaded: Loaded) -> None:
        done = done_of(await collect(loaded[0], dataclasses.replace(self.long_request, params={"max_tokens": 5})))
        assert done.stats.completion_tokens == 5
        assert done.reason == "length"

    async def test_a_random_seed_is_told_and_gives_the_same_text_again(self, loaded: Loaded) -> None:
        engine, _ = loaded
        first = await collect(engine, ask("My name is", params={"max_tokens": 12}))
        seed = done_of(first).stats.seed
        assert seed is not None
        assert seed >= 0
        for _ in range(2):
            again = await collect(engine, ask("My name is", params={"max_tokens": 12, "seed": seed}))
            assert text_of(again) == text_of(first)

    @cell("seed")
    async def test_a_seed_gives_the_same_text_also_where_the_prompt_could_come_from_a_cache(
        self, loaded: Loaded
    ) -> None:
        engine, _ = loaded
        request = ask("The lighthouse on the coast was built in 1820. " * 8, params={"max_tokens": 16, "seed": 5})
        answers = {text_of(await collect(engine, request)) for _ in range(3)}
        assert len(answers) == 1

    @cell("cancel")
    async def test_hanging_up_ends_the_request_in_the_engine(self, loaded: Loaded) -> None:
        engine, process = loaded
        for _ in range(engine.info.slots):
            stream = engine.generate(dataclasses.replace(self.long_request, params={"max_tokens": 4000, "seed": 1}))
            async for chunk in stream:
                if isinstance(chunk, Text):
                    break
            await stream.aclose()
        await until(lambda: process.running == 0)
        assert await spent_until_idle(process) < 1.0, "one of them went on: a whole reply costs several seconds"
        short = [collect(engine, ask("Hello", params={"max_tokens": 2})) for _ in range(engine.info.slots)]
        for chunks in await asyncio.gather(*short):
            done_of(chunks)

    @cell("parallel")
    async def test_requests_run_at_the_same_time(self, loaded: Loaded) -> None:
        engine, _ = loaded
        if Feature.PARALLEL not in features_of(engine.spec, engine.info):
            pytest.skip("this loader answers one request after the other")
        assert engine.info.slots > 1

        async def one(number: int) -> tuple[float, float]:
            first = 0.0
            async for chunk in engine.generate(
                ask(f"Number {number} is", params={"max_tokens": 30, "ban_eos_token": True})
            ):
                first = first or (time.monotonic() if isinstance(chunk, Text) else 0.0)
            return first, time.monotonic()

        async def overlap() -> bool:
            """Whether each began before one had ended."""
            spans = await asyncio.gather(*(one(number) for number in range(min(4, engine.info.slots))))
            return max(first for first, _ in spans) < min(last for _, last in spans)

        # An engine that takes them in turn never does it; one that does not may be held up by other programs once.
        assert await overlap() or await overlap() or await overlap()

    @cell("logprobs")
    async def test_logprobs_are_of_the_chosen_token_and_its_best_rivals(self, loaded: Loaded) -> None:
        engine, _ = loaded
        if Feature.LOGPROBS not in features_of(engine.spec, engine.info):
            pytest.skip("this loader has no logprobs")
        chunks = await collect(engine, ask("The sky is", logprobs=3, params={"max_tokens": 6, "seed": 1}))
        done_of(chunks)
        entries = [entry for chunk in chunks if isinstance(chunk, Text) for entry in chunk.logprobs]
        assert entries
        for entry in entries:
            assert entry.chosen.logprob <= 0
            assert entry.chosen.token_id is not None
            assert bytes(entry.chosen.bytes).decode("utf-8", "replace") == entry.chosen.token
            assert len(entry.top) == 3
            assert [top.logprob for top in entry.top] == sorted((top.logprob for top in entry.top), reverse=True)
        bare = await collect(engine, ask("The sky is", logprobs=0, params={"max_tokens": 2}))
        assert all(entry.top == () for chunk in bare if isinstance(chunk, Text) for entry in chunk.logprobs)
        off = await collect(engine, ask("The sky is", params={"max_tokens": 2}))
        assert all(chunk.logprobs == () for chunk in off if isinstance(chunk, Text))

    @cell("unicode")
    async def test_characters_over_several_tokens_come_whole(self, loaded: Loaded) -> None:
        request, expected = self.unicode_request()
        chunks = await collect(loaded[0], request)
        assert text_of(chunks) == expected
        assert all("\ufffd" not in chunk.text for chunk in chunks if isinstance(chunk, Text))

    @cell("context overflow")
    async def test_a_prompt_beyond_the_context_is_refused_with_the_counts(self, loaded: Loaded) -> None:
        engine, process = loaded
        long = "word " * (engine.info.context + 50)
        error = failed_of(await collect(engine, ask(long))).error
        assert (error["code"], error["status"]) == ("context_length_exceeded", 400)
        assert str(engine.info.context) in error["message"]
        assert process.alive

    async def test_a_reply_ends_when_the_context_is_full(self, loaded: Loaded) -> None:
        engine, _ = loaded
        tokens = (await engine.tokenize("word " * engine.info.context))[: engine.info.context - 12]
        done = done_of(await collect(engine, ask(tuple(tokens), params={"ban_eos_token": True})))
        assert done.stats.prompt_tokens + done.stats.completion_tokens <= engine.info.context + 1

    async def test_an_empty_prompt_is_refused(self, loaded: Loaded) -> None:
        for prompt in ("", ()):
            assert failed_of(await collect(loaded[0], ask(prompt))).error["status"] == 400

    async def test_text_goes_to_tokens_and_back(self, loaded: Loaded) -> None:
        engine, _ = loaded
        for text in ("Hello world", "naïve café, 漢字 and 🎉🎊!", "line\n\nline\ttab"):
            assert await engine.detokenize(await engine.tokenize(text, special=False)) == text

    async def test_a_prompt_of_token_ids_is_the_same_as_its_text(self, loaded: Loaded) -> None:
        engine, _ = loaded
        text = "The capital of France is"
        answers = [
            await collect(engine, ask(prompt, params={"max_tokens": 5, "temperature": 0.0, "seed": 1}))
            for prompt in (text, tuple(await engine.tokenize(text)))
        ]
        assert done_of(answers[0]).stats.prompt_tokens == done_of(answers[1]).stats.prompt_tokens
        assert text_of(answers[0]) == text_of(answers[1])

    @cell("chat and continue")
    async def test_a_chat_is_rendered_and_a_reply_continued(self, loaded: Loaded) -> None:
        engine, _ = loaded
        chat = (Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Hello, I"))
        rendered = (await engine.render(chat[:2], {})).text
        assert rendered.index("Be brief.") < rendered.index("Hi")
        assert (await engine.render(chat, {}, True)).text.endswith("Hello, I")
        assert not (await engine.render(chat, {})).text.endswith("Hello, I")

    async def test_every_parameter_the_loader_names_is_accepted(self, loaded: Loaded) -> None:
        engine, _ = loaded
        values = [{"max_tokens": 2, "seed": 1} | {name: odd(name)} for name in engine.spec.samplers]
        # Together, because engines that compute several replies at once then need a fraction of the time.
        for chunks in await asyncio.gather(*(collect(engine, ask("Tell me", params=one)) for one in values)):
            done_of(chunks)

    @pytest.fixture(scope="class")
    @classmethod
    def replies(cls) -> dict[str, tuple[str, str]]:
        """What was answered: many cases differ from the same request, which is then computed once."""
        return {}

    @pytest.mark.parametrize("name", [param.name for param in PARAMS])
    async def test_a_parameter_changes_the_reply_or_is_reported(
        self, loaded: Loaded, name: str, replies: dict[str, tuple[str, str]], record_property: Any
    ) -> None:
        engine, _ = loaded
        offered = name in engine.spec.samplers
        record_property("cell", [self.column or engine.spec.name, name])
        record_property("offered", offered)
        if not offered:
            assert ignored({name: odd(name)}, engine.spec.samplers) == (name,)
            return
        case = CASES.get(name) or await self._forbidding(engine)
        asked = [ask(case.prompt, params={**self.base, **one}, **case.more) for one in (case.first, case.second)]
        for request in asked:
            if repr(request) not in replies:
                chunks = await collect(engine, request)
                assert done_of(chunks).stats.completion_tokens or request is asked[1]
                replies[repr(request)] = text_of(chunks), done_of(chunks).reason
        assert replies[repr(asked[0])] != replies[repr(asked[1])]

    base = BASE

    async def _forbidding(self, engine: ConnectedEngine) -> Case:
        """The case of logit_bias: the token the greedy reply begins with is forbidden."""
        begun = text_of(await collect(engine, ask(STORY, params={**GREEDY, "max_tokens": 1})))
        token = (await engine.tokenize(begun, special=False))[0]
        return Case(GREEDY, {**GREEDY, "logit_bias": {str(token): -100.0}})

    @pytest.mark.parametrize("feature", list(Feature))
    async def test_a_feature_that_is_not_offered_is_refused(
        self, loaded: Loaded, feature: Feature, record_property: Any
    ) -> None:
        engine, _ = loaded
        column = self.column or engine.spec.name
        if feature in features_of(engine.spec, engine.info):
            return  # a test with its cell shows that it works
        if feature is Feature.SPECULATION and feature in engine.spec.features:
            return  # a setting that this load left alone: no request can ask for it
        if feature in IN_THE_SUITE and feature not in SHOWN_ELSEWHERE.get(column, ()):
            named = {spec.name for spec in built_in_specs() if feature in spec.features}
            assert engine.info.loader not in named, f"{column} names {feature.value}, but its engine does not offer it"
        record_property("cell", [column, IN_THE_SUITE.get(feature, feature.value)])
        record_property("offered", False)
        await refused(engine, feature)

    @cell("stop")
    async def test_a_stop_string_ends_the_reply_and_frees_the_engine(self, loaded: Loaded) -> None:
        engine, process = loaded
        whole = text_of(await collect(engine, dataclasses.replace(self.long_request, params={**BASE, **GREEDY})))
        words = whole.split()
        stop = next(word for word in words[3:] if words.count(word) == 1)
        request = dataclasses.replace(self.long_request, stop=(stop,), params={**BASE, **GREEDY, "max_tokens": 400})
        parser, said = StreamParser(request.stop), ""
        stream = engine.generate(request)
        async for chunk in stream:
            if isinstance(chunk, Text):
                said += "".join(piece.text for piece in parser.feed(chunk) if isinstance(piece, Text))
            if parser.stopped is not None:
                break
        await stream.aclose()
        assert parser.stopped == stop
        assert said == whole[: whole.index(stop)]
        await until(lambda: process.running == 0)

    async def test_what_is_no_text_does_not_upset_the_engine(self, loaded: Loaded) -> None:
        engine, process = loaded
        done_of(await collect(engine, ask("broken \ud800 half", params={"max_tokens": 2})))
        assert process.alive

    @cell("grammar")
    async def test_a_grammar_is_kept(self, loaded: Loaded) -> None:
        engine, _ = loaded
        if Feature.GRAMMAR not in features_of(engine.spec, engine.info):
            pytest.skip("this loader has no grammars")
        chunks = await collect(engine, ask("Is it so?", grammar='root ::= "yes" | "no"', params={"max_tokens": 20}))
        assert text_of(chunks) in ("yes", "no")
        error = failed_of(await collect(engine, ask("x", grammar="root ::= ("))).error
        assert error["status"] == 400

    @cell("JSON schema")
    async def test_a_json_schema_is_kept(self, loaded: Loaded) -> None:
        engine, _ = loaded
        if Feature.JSON_SCHEMA not in features_of(engine.spec, engine.info):
            pytest.skip("this loader has no JSON schemas")
        schema = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 99}},
                  "required": ["age"], "additionalProperties": False}  # fmt: skip
        chunks = await collect(
            engine, ask("A person:", json_schema=schema, params={"max_tokens": 200, "temperature": 0.0})
        )
        assert 0 <= json.loads(text_of(chunks))["age"] <= 99

    @cell("prompt reuse")
    async def test_a_second_turn_computes_only_what_is_new(self, loaded: Loaded) -> None:
        engine, _ = loaded
        if Feature.PROMPT_CACHE not in features_of(engine.spec, engine.info):
            pytest.skip("this loader keeps no prompts")
        first = "A story about a lighthouse keeper and the sea. " * 20
        params = {"max_tokens": 4, "temperature": 0.0}
        chunks = await collect(engine, ask(first, params=params))
        before = done_of(chunks).stats
        after = done_of(await collect(engine, ask(first + text_of(chunks) + " And then", params=params))).stats
        assert after.cached_tokens >= before.prompt_tokens - 1
        assert after.prompt_tokens - after.cached_tokens < 12


def spent(process: WorkerProcess) -> float:
    """Seconds of processor time the worker has used: the same however busy the machine is."""
    times = psutil.Process(process.pid).cpu_times()
    return times.user + times.system


async def spent_until_idle(process: WorkerProcess) -> float:
    """Processor time the worker uses from now until it computes no more."""
    begun = spent(process)
    last = begun - 1
    while spent(process) - last > 0.05:
        last = spent(process)
        await asyncio.sleep(0.5)
    return last - begun


def texts(chunks: list[Chunk]) -> list[str]:
    """The pieces of a reply."""
    return [chunk.text for chunk in chunks if isinstance(chunk, Text)]
