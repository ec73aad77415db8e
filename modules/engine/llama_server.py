"""The driver for engines that speak llama-server's HTTP protocol, whoever hosts them.

It knows an address and a key, not the binding: the server inside our own worker and a person's own llama-server
look the same. Source: llama.cpp, tools/server/README.md.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Literal

import orjson

from loaders.base import LoaderSpec
from modules.engine.endpoint_client import client_of
from modules.engine.http_client import Connection, ConnectionLost, events, read_all
from modules.engine.llama_request import completion_body
from modules.engine.process import WorkerProcess
from modules.engine.slots import Place, Slots
from modules.engine.turn import Turn
from modules.errors import (
    BadRequest,
    ContextOverflow,
    EngineCrashed,
    EngineError,
    EnginehouseError,
    NotReady,
    Unsupported,
)
from modules.types import (
    Chunk,
    Done,
    Embeddings,
    Endpoint,
    EngineInfo,
    Failed,
    FinishReason,
    GenerationRequest,
    Message,
    Notice,
    Progress,
    Ranking,
    Stats,
    Text,
    TokenLogprob,
    TopLogprob,
)  # fmt: skip

_log = logging.getLogger(__name__)
_GONE = (OSError, TimeoutError, ConnectionLost)
WAITING_IN_ENGINE = 16
_INCOMPLETE = Notice("logprobs_incomplete", "The engine gives no probabilities for tokens that are only the beginning "
                     "of a character, so some tokens of this reply have none.", "logprobs")  # fmt: skip
_NOTICE_DEATH = 2.0
"""Seconds to wait for the worker's end to be known after its connection broke."""


class LlamaServerEngine:
    """`Engine` over HTTP. `process` is the worker that hosts the endpoint, if it is one of ours."""

    def __init__(
        self, endpoint: Endpoint, info: EngineInfo, spec: LoaderSpec, process: WorkerProcess | None = None
    ) -> None:
        self.info = info
        self.spec = spec
        self._http = client_of(endpoint)
        # The engine queues what has no slot, but a waiting stream holds one of its HTTP threads; beyond a few,
        # requests wait here, where they cost nothing and short calls stay quick.
        self._room = asyncio.Semaphore(info.slots + WAITING_IN_ENGINE)
        self._process = process
        # Only where nobody else asks the server; a picture of what others do to its slots cannot be had.
        kept = not info.details.get("prompt_cache_mib")
        self._slots = None if process is None else Slots(info.slots, kept)
        self._asking: set[asyncio.Task[None]] = set()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """See Engine. Hanging up is the cancel; text that arrives together is yielded together."""
        connection: Connection | None = None
        inside = begun = False
        turn = Turn(self._process)
        reader = _Reader(request, self.info.context, self._slots)
        try:
            turn.pause()  # also while others have all the room, which they may keep as long as their readers like
            if self._room.locked():
                yield Progress("queued", 0, 1)
            inside = await self._room.acquire()
            turn.resume()
            body = completion_body(request)
            reader.sent(body)
            try:
                connection = await self._http.stream("/completion", body)
            except (TypeError, ValueError) as error:  # such as a number of more than 64 bits in a JSON schema
                raise BadRequest(f"This cannot be sent to the engine: {error}") from None
            if connection.status != 200:
                raise _refusal(connection.status, await read_all(connection))
            connection.heard = None if self._process is None else self._process.sign
            async for batch in events(connection):
                if not begun:
                    begun = True
                    self._started(reader)
                for chunk in reader.read(batch):
                    turn.pause()
                    yield chunk
                    turn.resume()
                    if isinstance(chunk, (Done, Failed)):
                        async for _ in events(connection):  # to the end of the body, so that it can be used again
                            pass
                        return
            raise ConnectionLost(True)
        except _GONE:
            turn.end()
            yield Failed((await self._why_gone()).as_dict())
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
    ) -> str:
        """See Engine. The template runs in the engine's process."""
        if not messages:
            raise BadRequest("There is no message.", hint="Send at least one.", param="messages")
        body = {
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "chat_template_kwargs": dict(variables),
            "add_generation_prompt": not continue_last,
            "continue_final_message": continue_last,
        }
        return str((await self._ask("/apply-template", body))["prompt"])

    async def tokenize(self, text: str, special: bool = True) -> list[int]:
        """See Engine. Names of special tokens in the text are read as such, as they are in a prompt."""
        body = {"content": text, "add_special": special, "parse_special": True}
        return list((await self._ask("/tokenize", body))["tokens"])

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """See Engine."""
        return str((await self._ask("/detokenize", {"tokens": list(tokens)}))["content"])

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """See Engine."""
        raise Unsupported(f"The loader {self.spec.name} does not make embeddings yet.", param="model")

    async def rerank(self, query: str, documents: Sequence[str]) -> Ranking:
        """See Engine."""
        raise Unsupported(f"The loader {self.spec.name} does not rerank yet.", param="model")

    async def close(self) -> None:
        """Hang up on the engine."""
        for task in self._asking:
            task.cancel()
        await self._http.close()

    def _started(self, reader: _Reader) -> None:
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

    async def _ask(self, path: str, body: Any) -> Any:
        try:
            status, answer = await self._http.post(path, body)
        except _GONE:
            raise (await self._why_gone()) from None
        except (TypeError, ValueError) as error:
            raise BadRequest(f"This cannot be sent to the engine: {error}") from None
        if status != 200 or not isinstance(answer, dict):
            raise _refusal(status, orjson.dumps(answer))
        return answer

    async def _why_gone(self) -> EngineError:
        """The reason of a broken connection: the end of the worker, if that is it."""
        error = None if self._process is None else await self._process.ended(_NOTICE_DEATH)
        return error or EngineCrashed("The engine closed the connection.", hint="Try again.", code="engine_unreachable")


def _refusal(status: int, raw: bytes) -> EnginehouseError:
    """The error of an answer that is not 200."""
    try:
        data = orjson.loads(raw)
    except ValueError:
        data = {}
    error = data.get("error", {}) if isinstance(data, dict) else {}
    return _error(error if isinstance(error, dict) else {"message": str(error)}, status)


def _error(error: Mapping[str, Any], status: int) -> EnginehouseError:
    said = str(error.get("message") or f"The engine refused the request (HTTP {status}).")[:1000]
    if error.get("type") == "exceed_context_size_error":
        prompt, limit = error.get("n_prompt_tokens", "?"), error.get("n_ctx", "?")
        return ContextOverflow(
            f"The prompt has {prompt} tokens, but the context is {limit}.",
            hint="Shorten it, or load the model with a larger context.",
        )
    status = int(error.get("code", status)) if isinstance(error.get("code", status), int) else status
    if "context size has been exceeded" in said.lower():
        return EngineError(
            "The context filled up: the replies that run at the same time share it.",
            hint="Try again, or load the model with a larger context.", code="context_full")  # fmt: skip
    if status == 503:
        return NotReady("The engine is still loading.", hint="Try again in a moment.")
    if 400 <= status < 500 and status not in (401, 403):
        return BadRequest(said)
    return EngineError(f"The engine reported: {said}")


class _Reader:
    """Turns the events of one /completion stream into chunks, and tells `slots` what becomes of the request."""

    def __init__(self, request: GenerationRequest, context: int, slots: Slots | None) -> None:
        self._request = request
        self._top = request.logprobs
        self._started = time.monotonic()
        self.seed = -1
        self._context = context
        self._begun = 0.0
        self._first = 0.0
        self._tokens = 0
        self._incomplete = False
        self._slots = slots
        self.place: Place | None = None
        self._texts: list[str] = []
        self._end: Literal["cancelled", "done", "failed"] = "cancelled"

    def sent(self, body: dict[str, Any]) -> None:
        """The request goes out now: its slot is chosen."""
        self.seed = int(body["seed"])
        if self._slots is not None:
            self.place = self._slots.ask(self._request.prompt_text or self._request.prompt or "")
            if self.place.wanted is not None:
                body["id_slot"] = self.place.wanted

    def refused(self) -> None:
        """The engine did not take the request."""
        self._end = "failed"

    def ended(self) -> None:
        """Nothing more is read, for whatever reason."""
        if self._slots is not None and self.place is not None:
            self._slots.ended(self.place, "".join(self._texts), self._end == "cancelled", self._end != "failed")

    def read(self, batch: list[bytes]) -> list[Chunk]:
        """The chunks of events that arrived together, text joined; the last may be Done or Failed."""
        out: list[Chunk] = []
        text = ""
        tokens = 0
        logprobs: tuple[TokenLogprob, ...] = ()
        end: Done | Failed | None = None
        for event in batch:
            if event.startswith(b"data: "):
                data = orjson.loads(event[6:])
            elif event.startswith(b"error: "):
                data = {"error": orjson.loads(event[7:])}
            else:
                continue  # a comment that keeps the connection alive
            if "error" in data:
                end = self._failed(data["error"])
                break
            if (progress := data.get("prompt_progress")) is not None:
                self._begun = self._begun or time.monotonic()
                out.append(Progress("prompt", progress["processed"], progress["total"], progress["cache"]))
                continue
            if content := data["content"]:
                self._first = self._first or time.monotonic()
                text += content
                step = data["tokens_predicted"] - self._tokens
                tokens += step
                self._tokens = data["tokens_predicted"]
                if self._top is not None:
                    found = data.get("completion_probabilities", ())
                    logprobs += tuple(map(self._logprob, found))
                    if len(found) < step and not self._incomplete and not content.isascii():
                        # llama-server drops them while it waits for the rest of a character, for good: a stream's
                        # last event has none either (tools/server/server-context.cpp, process_token).
                        self._incomplete = True
                        out.append(_INCOMPLETE)
            if data["stop"]:
                end = self._done(data)
                break
        if text:
            self._texts.append(text)
            out.append(Text(text, tokens, logprobs))
        if end is not None:
            out.append(end)
        return out

    def _failed(self, error: Any) -> Failed:
        self._end = "failed"
        return Failed(_error(error if isinstance(error, dict) else {"message": str(error)}, 500).as_dict())

    def _logprob(self, value: Mapping[str, Any]) -> TokenLogprob:
        return TokenLogprob(_candidate(value), tuple(_candidate(top) for top in value["top_logprobs"][: self._top]))

    def _done(self, data: Mapping[str, Any]) -> Done:
        self._end = "done"
        timings = data.get("timings", {})
        now = time.monotonic()
        reason: FinishReason = "length" if data.get("stop_type") == "limit" else "stop"
        return Done(reason, Stats(
            prompt_tokens=data["tokens_evaluated"], cached_tokens=timings.get("cache_n", 0),
            completion_tokens=data["tokens_predicted"], prompt_ms=timings.get("prompt_ms", 0.0),
            completion_ms=timings.get("predicted_ms", 0.0),
            first_token_ms=((self._first or now) - self._started) * 1000,
            queued_ms=max(0.0, ((self._begun or self._started) - self._started) * 1000),
            seed=self.seed, context_limit=self._context,
        ))  # fmt: skip


def _candidate(value: Mapping[str, Any]) -> TopLogprob:
    return TopLogprob(value["token"], value["logprob"], tuple(value["bytes"]), value["id"])
