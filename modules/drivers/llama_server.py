"""The driver for engines that speak llama-server's HTTP protocol, whoever hosts them.

It knows an address and a key, not the binding: the server inside our own worker and a person's own llama-server
look the same. Source: llama.cpp, tools/server/README.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import orjson

from loaders.base import Feature, LoaderSpec, features_of
from loaders.served.llama_adapters import ROUTE, adapters_of
from loaders.text.media_mark import MEDIA_MARK, marked_text, rendered, without_marks
from modules.drivers import llama_embeddings, openai_errors, slot_state
from modules.drivers.base import no_task
from modules.drivers.endpoint_client import client_of
from modules.drivers.grammar_refusal import GrammarRefusal
from modules.drivers.http_client import Connection, ConnectionLost, events, read_all
from modules.drivers.llama_errors import refusal
from modules.drivers.llama_reader import Reader
from modules.drivers.llama_request import Prompting, completion_body
from modules.drivers.slots import Place, Prompt, Slots
from modules.drivers.worker_call import call
from modules.engine.in_flight import InFlight
from modules.engine.process import WorkerProcess
from modules.errors import BadRequest, EngineCrashed, EngineError, EnginehouseError, Unsupported
from modules.messages.reasoning import MARK_TOKENS, model_marks
from modules.messages.tool_calls import openai_message, system_for_developer
from modules.tasks import A, EmbedRequest, Q, RerankRequest, Task
from modules.types import (
    Chunk,
    Done,
    Embeddings,
    Endpoint,
    EngineInfo,
    Failed,
    GenerationRequest,
    Message,
    Progress,
    Ranking,
    RenderedPrompt,
)  # fmt: skip

_log = logging.getLogger(__name__)
_GONE = (OSError, TimeoutError, ConnectionLost)
WAITING_IN_ENGINE = 16
_BEFORE_IT = frozenset({301, 302, 303, 307, 308, 401, 402, 403, 404, 405, 429, 502, 504})
_SWITCHES = {Feature.EMBEDDINGS: "--embeddings", Feature.RERANK: "--reranking"}
_NOTICE_DEATH = 2.0
"""Seconds to wait for the worker's end to be known after its connection broke."""


class LlamaServerEngine:
    """`Engine` over HTTP. `worker` renders chats, and hosts the endpoint unless that is somebody else's."""

    def __init__(
        self, endpoint: Endpoint, info: EngineInfo, spec: LoaderSpec, worker: WorkerProcess | None = None
    ) -> None:
        process = worker if endpoint.hosted else None
        self._renderer = worker if info.worker_renders else None
        self.info = info
        self.spec = spec
        self._http = client_of(endpoint)
        self._where = openai_errors.shown(endpoint.url)
        self._endpoint = endpoint
        # The engine queues what has no slot, but a waiting stream holds one of its HTTP threads; beyond a few,
        # requests wait here, where they cost nothing and short calls stay quick.
        self._room = asyncio.Semaphore(info.slots + WAITING_IN_ENGINE)
        self._process = process
        # Only where nobody else asks the server; a picture of what others do to its slots cannot be had.
        kept = not info.details.get("prompt_cache_mib")
        self._slots = None if process is None else Slots(info.slots, kept)
        self._asking: set[asyncio.Task[None]] = set()
        self._mark = ""
        self._marks: tuple[str, ...] | None = None
        # The server does not remember with which adapters a prompt was computed that it put aside.
        mixes = bool(info.adapters)
        reuse = not mixes or (kept and process is not None)
        self._prompting = Prompting(tuple(info.adapters.items()), reuse=reuse, context=info.context,
                                    llguidance=endpoint.llguidance)  # fmt: skip
        self._features = features_of(spec, info)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """See Engine. Hanging up is the cancel; text that arrives together is yielded together."""
        connection: Connection | None = None
        inside = begun = False
        turn = InFlight(self._process)
        reader = Reader(request, self.info.context, self._slots)
        try:
            turn.pause()  # also while others have all the room, which they may keep as long as their readers like
            if self._room.locked():
                yield Progress("queued", 0, 1)
            inside = await self._room.acquire()
            turn.resume()
            self._writes()
            body = completion_body(request, await self._prompt_of(request))
            reader.sent(body)
            enforced = GrammarRefusal(request, None if self._process is None else self._process.log)
            try:
                connection = await self._http.stream("/completion", body)
            except OSError:  # a certificate that is not trusted is a ValueError too
                raise
            except (TypeError, ValueError) as error:  # such as a number of more than 64 bits in a JSON schema
                raise BadRequest(f"This cannot be sent to the engine: {error}") from None
            if connection.status != 200:
                said = await read_all(connection)
                raise self._refusal(connection.status, said, connection.retry_after)
            connection.heard = None if self._process is None else self._process.sign
            async for batch in events(connection):
                if not begun:
                    begun = True
                    self._started(reader)
                enforced.check()
                for chunk in reader.read(batch):
                    turn.pause()
                    yield chunk
                    turn.resume()
                    if isinstance(chunk, (Done, Failed)):
                        async for _ in events(connection):  # to the end of the body, so that it can be used again
                            pass
                        return
            raise ConnectionLost(True)
        except _GONE as error:
            turn.end()
            yield Failed((await self._why_gone(error, connection is not None)).as_dict())
        except EnginehouseError as error:
            turn.end()
            reader.refused()
            yield Failed(error.as_dict())
        except (TypeError, ValueError) as error:
            turn.end()
            yield Failed(EngineError(f"The engine's answer is not readable: {error}").as_dict())
        finally:
            if connection is not None:
                self._http.release(connection)
            reader.ended()
            if inside:
                self._room.release()
            turn.end()

    async def render(
        self, messages: tuple[Message, ...], variables: Mapping[str, Any], continue_last: bool = False
    ) -> RenderedPrompt:
        """See Engine. The template runs in the worker; where that has none, in the server, by its own rules."""
        if not messages:
            raise BadRequest("There is no message.", hint="Send at least one.", param="messages")
        if self._renderer is not None:
            return rendered(messages, await call(
                self._renderer, "render", messages=messages, variables=variables, continue_last=continue_last
            ))  # fmt: skip
        body = {
            "messages": [openai_message(system_for_developer(message), marked_text(message)) for message in messages],
            "chat_template_kwargs": {name: value for name, value in variables.items() if name != "tools"},
            "add_generation_prompt": not continue_last,
            "continue_final_message": continue_last,
        }
        if tools := variables.get("tools"):
            body["tools"] = tools
        return rendered(messages, (await self._ask("/apply-template", body))["prompt"])

    async def tokenize(self, text: str, special: bool = True) -> list[int]:
        """See Engine. Names of special tokens in the text are read as such, as they are in a prompt."""
        body = {"content": text, "add_special": special, "parse_special": True}
        return list((await self._ask("/tokenize", body))["tokens"])

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """See Engine."""
        return str((await self._ask("/detokenize", {"tokens": list(tokens)}))["content"])

    async def call(self, task: Task[Q, A], request: Q) -> A:
        """See Engine. The model has to be loaded for it."""
        if isinstance(request, EmbedRequest):
            return cast(A, await self._embed(request.texts))
        if isinstance(request, RerankRequest):
            return cast(A, await self._rerank(request))
        raise no_task(self.spec, task)

    async def _embed(self, texts: Sequence[str]) -> Embeddings:
        self._offers(Feature.EMBEDDINGS, "makes no embeddings", "embeddings")
        if not texts:
            return Embeddings((), 0)
        answer = await self._ask(
            "/v1/embeddings", {"input": [without_marks(text) for text in texts]}, llama_embeddings.TIMEOUT
        )
        return await asyncio.to_thread(llama_embeddings.embeddings, answer, len(texts))  # a second for many long ones

    async def _rerank(self, request: RerankRequest) -> Ranking:
        self._offers(Feature.RERANK, "does not rank texts", "rerank")
        documents = [without_marks(text) for text in request.documents]
        if not documents:
            return Ranking((), 0)
        body = {"query": without_marks(request.query), "documents": documents}
        return llama_embeddings.ranking(await self._ask("/v1/rerank", body, llama_embeddings.TIMEOUT), len(documents))

    async def save_slot(self, name: str, prompt: Prompt) -> int:
        """Compute a prompt and write what was computed to disk under `name`; gives its tokens.

        Raises Unsupported, BadParameter for the name, NotReady, StorageError, EngineError. All saved prompts together
        have a limit: one that was not used for long may be gone, and is then computed again.
        """
        return await slot_state.save(self._ask_long, *self._saving(), name, prompt)

    async def restore_slot(self, name: str, prompt: Prompt) -> int:
        """Read what `save_slot` wrote for this prompt, so that it is not computed again; gives its tokens.

        Raises what `save_slot` raises, and NotFound.
        """
        return await slot_state.restore(self._ask_long, *self._saving(), name, prompt)

    async def close(self) -> None:
        """Hang up on the engine."""
        for task in self._asking:
            task.cancel()
        await self._http.close()

    def _started(self, reader: Reader) -> None:
        """The engine works on a request: say so to the picture of its slots, and have it completed."""
        if self._slots is not None and reader.place is not None and self._slots.started(reader.place):
            task = asyncio.create_task(self._find(self._slots, reader.place, reader.seed))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def _find(self, slots: Slots, place: Place, seed: int) -> None:
        """Which slot the engine gave a request. The seeds tell: ours are drawn for each request."""
        found: list[int] = []
        try:
            _, answer = await self._http.get("/slots")
            found = [slot["id"] for slot in answer if slot.get("params", {}).get("seed") == seed]
        except (*_GONE, ValueError, TypeError, AttributeError, KeyError) as error:
            _log.debug("the engine did not tell its slots: %s", error)
        finally:
            slots.found(place, found[0] if len(found) == 1 else None)

    def _writes(self) -> None:
        """Raises Unsupported for a model that only makes vectors."""
        if self._features and self._features <= {Feature.EMBEDDINGS, Feature.RERANK}:
            what = "embeddings" if Feature.EMBEDDINGS in self._features else "ranking"
            hint = "Load it with mode text, if it can write, or use another model."
            raise Unsupported(f"{self.info.model} is loaded for {what} and does not write text.", param="model",
                              hint=hint if self._endpoint.hosted else "Use another model.")  # fmt: skip

    def _offers(self, feature: Feature, says: str, mode: str) -> None:
        if feature not in self._features:
            hint = f"Load a model that is made for it, or this one with mode {mode}."
            if not self._endpoint.hosted:
                hint = f"The server has to be started for it ({_SWITCHES[feature]}); then load the model again."
            raise Unsupported(f"{self.info.model}, as it is loaded, {says}.", param="model", hint=hint)

    def _saving(self) -> tuple[Slots, slot_state.Place]:
        folder, process = self._endpoint.slot_dir, self._process
        if self._slots is None or process is None or not folder or Feature.SLOT_STATES not in self._features:
            raise Unsupported("This engine does not save computed prompts as it is loaded.",
                              hint="With adapters, or on a server of others, they are not saved.")  # fmt: skip
        return self._slots, slot_state.Place(Path(folder), process.request.path)

    async def _prompt_of(self, request: GenerationRequest) -> Prompting:
        """How this request's prompt is sent; the server's own mark for images is asked for once."""
        prompting = self._prompting
        if request.keep_marks:
            prompting = replace(prompting, marks=await self._reasoning_marks())
        if prompting.adapters and not self._endpoint.hosted:
            prompting = replace(prompting, adapters=await self._adapters_there())
        if not request.images:
            return prompting
        if Feature.VISION not in self._features:
            raise Unsupported(f"{self.info.model}, as it is loaded, takes no images.", param="images",
                              hint="Load it with its mmproj file, or use another model.")  # fmt: skip
        if not self._mark or not self._endpoint.hosted:  # a server of others may be started anew, with another
            _, answer = await self._http.get("/props")
            found = answer.get("media_marker") if isinstance(answer, dict) else None
            self._mark = str(found or MEDIA_MARK)
        return replace(prompting, mark=self._mark)

    async def _reasoning_marks(self) -> tuple[str, ...]:
        """Tokens of this model that mark thinking. The server is asked once which of all marks it has as one token."""
        if self._marks is None:
            body = {"content": "\n".join(sorted(MARK_TOKENS)), "parse_special": True, "with_pieces": True}
            pieces = {str(token.get("piece")) for token in (await self._ask("/tokenize", body))["tokens"]}
            self._marks = model_marks(pieces.__contains__)
        return self._marks

    async def _adapters_there(self) -> tuple[tuple[str, float], ...]:
        """The adapters in the server's order now: started anew, it may count others, and takes any number for one.

        Raises EngineError when they are not those the model was loaded with.
        """
        status, answer = await self._http.get(ROUTE)
        if status != 200:
            raise self._refusal(status, orjson.dumps(answer))
        names = list(adapters_of(answer))
        if set(names) != set(self.info.adapters):
            now = ", ".join(names) or "none"
            raise EngineError(f"The server at {self._where} has other adapters than when this model was loaded: {now}.",
                              hint="Load the model again.", code="adapters_changed")  # fmt: skip
        return tuple((name, self.info.adapters[name]) for name in names)

    async def _ask(self, path: str, body: Any, timeout: float = 60.0) -> Any:
        try:
            async with asyncio.timeout(timeout):
                found = await self._http.post_raw(path, body)
        except _GONE as error:
            raise (await self._why_gone(error)) from None
        except (TypeError, ValueError) as error:
            raise BadRequest(f"This cannot be sent to the engine: {error}") from None
        if found.status != 200:
            raise self._refusal(found.status, found.body, found.retry_after)
        try:
            answer = orjson.loads(found.body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise EngineError(f"What the engine answers to {path} is not readable.", hint="Its log may say more.")
        return answer

    async def _ask_long(self, path: str, body: Any) -> Any:
        return await self._ask(path, body, slot_state.TIMEOUT)

    def _refusal(self, status: int, raw: bytes, retry_after: str = "") -> EnginehouseError:
        """Why an answer is not 200; where the server is somebody else's, what stands before it may have answered."""
        if not self._endpoint.hosted and status in _BEFORE_IT:
            return openai_errors.cleaned(openai_errors.refusal(status, raw, self._where, retry_after), self._endpoint)
        return openai_errors.cleaned(openai_errors.told_to_wait(refusal(status, raw), retry_after), self._endpoint)

    async def _why_gone(self, error: BaseException, begun: bool = False) -> EngineError:
        """The reason of a broken connection: the end of the worker, if that is it."""
        if not self._endpoint.hosted:
            if isinstance(error, ConnectionLost) and error.given_up:
                return openai_errors.silent(self._endpoint.timeout, self._where)
            return openai_errors.unreachable(error, self._where, begun)
        ended = None if self._process is None else await self._process.ended(_NOTICE_DEATH)
        return ended or EngineCrashed("The engine closed the connection.", hint="Try again.", code="engine_unreachable")
