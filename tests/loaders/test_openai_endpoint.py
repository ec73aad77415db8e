"""The endpoint loader by the suite every loader passes: a real llama.cpp server is the remote, in both dialects."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from loaders import llama_cpp
from loaders.openai_endpoint import SPEC
from modules.drivers.connect import ConnectedEngine, connect
from modules.engine.process import WorkerProcess
from modules.errors import Unsupported
from modules.generation.checks import checked_against
from modules.types import GenerationRequest, Message, Progress
from tests.engine.making import MODEL, ask, collect, done_of, failed_of, real, running, text_of
from tests.loaders.conformance import Conformance, Loaded, cell
from tests.loaders.sampler_cases import GREEDY, STORY, Case

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(200)]
needs_model = [
    pytest.mark.real_model,
    pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded"),
]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


def endpoint_file(folder: Path, **values: Any) -> Path:
    """An endpoint file; JSON is YAML."""
    path = folder / "remote.endpoint.yaml"
    path.write_text(json.dumps(values))
    return path


@asynccontextmanager
async def remote(folder: Path, flavour: str, **more: Any) -> AsyncIterator[Loaded]:
    """The endpoint loader's engine, and the worker that hosts the real server behind it."""
    (folder / "there").mkdir()
    async with real(folder / "there", context=768) as (there, host):
        endpoint = there.info.endpoint
        path = endpoint_file(folder, url=endpoint.url, key=endpoint.key, flavour=flavour, **more)
        async with running(folder, SPEC, str(path)) as (engine, _):
            yield engine, host


def chat(text: str, **more: Any) -> GenerationRequest:
    return GenerationRequest(id="test", messages=(Message("user", text),), **more)


class TestLlamaServer(Conformance):
    """llama.cpp's server elsewhere, in its own protocol: everything the built-in one offers."""

    pytestmark = needs_model
    column = "openai-endpoint (llama-server)"

    @pytest.fixture(scope="class")
    async def loaded(self, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Loaded]:
        async with remote(tmp_path_factory.mktemp("llama"), "auto") as pair:
            yield pair

    def unicode_request(self) -> tuple[GenerationRequest, str]:
        text = "🎉🎊 naïve 漢字 👩‍👩‍👧"
        return ask("Emoji:", grammar=f'root ::= "{text}"', logprobs=1, params={"max_tokens": 80}), text

    async def test_what_it_is_was_found_out(self, loaded: Loaded) -> None:
        info = loaded[0].info
        assert info.endpoint is not None
        assert info.endpoint.flavour == "llama-server"
        assert (info.context, info.slots, info.renders_templates, info.sends_to) == (768, 4, True, "")
        assert info.endpoint.key not in str(info.details)


class TestOpenAI(Conformance):
    """The same server by OpenAI's routes: it renders chats itself, and knows no more than OpenAI's parameters."""

    pytestmark = needs_model
    column = "openai-endpoint (openai)"

    @pytest.fixture(scope="class")
    async def pair(self, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Loaded, ConnectedEngine]]:
        """Also the engine that knows the server's tokens, which OpenAI's protocol does not tell."""
        folder = tmp_path_factory.mktemp("openai")
        async with remote(folder, "openai", context=768, parallel=4) as loaded, own(loaded[1]) as there:
            yield loaded, there

    @pytest.fixture(scope="class")
    async def loaded(self, pair: tuple[Loaded, ConnectedEngine]) -> Loaded:
        return pair[0]

    @pytest.fixture(scope="class")
    async def there(self, pair: tuple[Loaded, ConnectedEngine]) -> ConnectedEngine:
        return pair[1]

    def unicode_request(self) -> tuple[GenerationRequest, str]:
        text = "🎉🎊 naïve 漢字 👩‍👩‍👧"
        return chat("Emoji:", json_schema={"const": text}, logprobs=1, params={"max_tokens": 80}), f'"{text}"'

    @cell("seed")
    async def test_a_seed_gives_the_same_text_also_where_the_prompt_could_come_from_a_cache(
        self, loaded: Loaded
    ) -> None:
        """OpenAI's protocol cannot turn a server's prompt cache off, so only a prompt that is too short for one."""
        request = ask("My dog", params={"max_tokens": 16, "seed": 5})
        assert len({text_of(await collect(loaded[0], request)) for _ in range(3)}) == 1

    async def test_a_reply_ends_when_the_context_is_full(self, loaded: Loaded, there: ConnectedEngine) -> None:
        engine, _ = loaded
        tokens = (await there.tokenize("word " * engine.info.context))[: engine.info.context - 12]
        done = done_of(await collect(engine, ask(tuple(tokens))))
        assert done.stats.prompt_tokens == len(tokens)
        assert done.stats.prompt_tokens + done.stats.completion_tokens <= engine.info.context + 1

    async def test_text_goes_to_tokens_and_back(self, loaded: Loaded) -> None:
        for asked in (loaded[0].tokenize("x"), loaded[0].detokenize([1]), loaded[0].render((), {})):
            with pytest.raises(Unsupported):
                await asked

    async def test_a_prompt_of_token_ids_is_the_same_as_its_text(self, loaded: Loaded, there: ConnectedEngine) -> None:
        text = "The capital of France is"
        answers = [
            await collect(loaded[0], ask(prompt, params={"max_tokens": 5, "temperature": 0.0, "seed": 1}))
            for prompt in (text, tuple(await there.tokenize(text)))
        ]
        assert done_of(answers[0]).stats.prompt_tokens == done_of(answers[1]).stats.prompt_tokens
        assert text_of(answers[0]) == text_of(answers[1])

    @cell("chat and continue")
    async def test_a_chat_is_rendered_and_a_reply_continued(self, loaded: Loaded, there: ConnectedEngine) -> None:
        """Rendered by the server, as the engine beside it renders; a reply cannot be continued by this protocol."""
        engine, _ = loaded
        messages = (Message("system", "Be brief."), Message("user", "What is the capital of France?"))
        params = {"max_tokens": 12, "temperature": 0.0}
        said = await collect(engine, GenerationRequest(id="test", messages=messages, params=params))
        wanted = await collect(there, ask((await there.render(messages, {})).text, params=params))
        assert text_of(said) == text_of(wanted)
        assert done_of(said).stats.prompt_tokens == done_of(wanted).stats.prompt_tokens
        with pytest.raises(Unsupported):
            checked_against(GenerationRequest(id="test", messages=messages, continue_last=True), engine)

    async def _forbidding(self, engine: ConnectedEngine) -> Case:
        """As in the suite; the token's number is the server's, which is asked in its own protocol."""
        begun = text_of(await collect(engine, ask(STORY, params={**GREEDY, "max_tokens": 1})))
        token = (await self.numbers.tokenize(begun, special=False))[0]
        return Case(GREEDY, {**GREEDY, "logit_bias": {str(token): -100.0}})

    numbers: ConnectedEngine

    @pytest.fixture(autouse=True)
    def with_numbers(self, there: ConnectedEngine) -> None:
        self.numbers = there

    @cell("JSON schema")
    async def test_a_json_schema_is_kept(self, loaded: Loaded) -> None:
        engine, _ = loaded
        schema = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 99}},
                  "required": ["age"], "additionalProperties": False}  # fmt: skip
        chunks = await collect(engine, chat("A person:", json_schema=schema, params={"max_tokens": 60}))
        assert 0 <= json.loads(text_of(chunks))["age"] <= 99
        error = failed_of(await collect(engine, ask("A person:", json_schema=schema))).error
        assert (error["status"], error["param"]) == (422, "json_schema"), "said, not ignored"

    async def test_the_servers_own_chat_is_answered_while_others_wait_their_turn(self, loaded: Loaded) -> None:
        engine, _ = loaded
        stream = [collect(engine, chat(f"Number {number}", params={"max_tokens": 8})) for number in range(6)]
        answers = await asyncio.gather(*stream)
        assert all(done_of(chunks).stats.completion_tokens for chunks in answers)
        assert any(isinstance(chunk, Progress) and chunk.stage == "queued" for chunks in answers for chunk in chunks)


@asynccontextmanager
async def own(host: WorkerProcess) -> AsyncIterator[ConnectedEngine]:
    """A second engine on the worker that hosts the server, in its own protocol."""
    assert host.info is not None
    engine = connect(host, host.info, llama_cpp.SPEC)
    yield engine
    await engine.close()
