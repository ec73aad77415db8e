"""The driver for servers that speak OpenAI's protocol: vLLM, SGLang, TensorRT-LLM, and any other, near or far.

The server renders chats itself (EngineInfo.renders_templates is False). What each kind takes beyond the protocol is
data: loaders/served/server_kinds.py. Source: https://platform.openai.com/docs/api-reference/chat.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, cast

import orjson

from loaders.base import LoaderSpec
from loaders.served.server_kinds import FLAVOURS
from modules.drivers import openai_errors
from modules.drivers.base import no_task
from modules.drivers.endpoint_client import client_of
from modules.drivers.http_client import Connection, ConnectionLost, read_all
from modules.drivers.openai_reply import Reply, sse
from modules.drivers.openai_request import Ask, ask_for, unit, without
from modules.engine.in_flight import InFlight
from modules.engine.process import WorkerProcess
from modules.errors import BadRequest, EngineError, EnginehouseError, Unsupported
from modules.tasks import A, EmbedRequest, Q, Task
from modules.types import (
    Chunk,
    Embeddings,
    Endpoint,
    EngineInfo,
    Failed,
    GenerationRequest,
    Message,
    Notice,
    Progress,
    RenderedPrompt,
)  # fmt: skip

_GONE = (OSError, TimeoutError, ConnectionLost)
_NOTICE_DEATH = 2.0
"""Seconds to wait for the worker's end to be known after the connection to its server broke."""
_END_OF_BODY = 0.1
"""Seconds the end of a body may come after its last event."""
_LAST_WORDS = 5.0
"""Seconds the token counts may come after the reply."""
_MOST_REFUSED = 6
_OPEN_LIMIT = 4096
"""Tokens a raw prompt without a limit is answered with where the context is not known."""


class OpenAIServerEngine:
    """`Engine` over OpenAI's protocol. `process` is the worker; it hosts the server only if `endpoint.hosted`."""

    def __init__(
        self, endpoint: Endpoint, info: EngineInfo, spec: LoaderSpec, process: WorkerProcess | None = None
    ) -> None:
        self.info = info
        self.spec = spec
        self.where = openai_errors.shown(endpoint.url)
        self._endpoint = endpoint
        self._flavour = FLAVOURS[endpoint.flavour]
        self._model = endpoint.model or info.model
        self._http = client_of(endpoint)
        self._process = process
        self._room = asyncio.Semaphore(info.slots)
        self._unknown: dict[str, str] = {}  # what this server refused once, and in which words

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """See Engine. Hanging up is the cancel."""
        connection: Connection | None = None
        reply: Reply | None = None
        inside = False
        turn = InFlight(self._process)
        turn.pause()  # a server's silence is told by its connection; the worker has nothing to show meanwhile
        try:
            if self._room.locked():
                yield Progress("queued", 0, 1)
            inside = await self._room.acquire()
            ask = ask_for(request, self._flavour, self._model, await self._limit(request))
            for notice in self._notices(request):
                yield notice
            reply = Reply(request, ask.seed, self.info.context, self._endpoint)
            connection, notices = await self._open(ask)
            for notice in notices:
                yield notice
            async for batch in sse(connection):
                for chunk in reply.read(batch):
                    yield chunk
                    if isinstance(chunk, Failed):
                        return
                if reply.over:
                    await _to_the_end(connection)
                    break
                if reply.complete:
                    connection.hurry(_LAST_WORDS)
            for chunk in self._ended(reply):
                yield chunk
        except _GONE as error:
            if reply is not None and reply.complete:  # only the counts are missing
                for chunk in reply.end():
                    yield chunk
            else:
                yield Failed((await self._why_gone(error, connection)).as_dict())
        except EnginehouseError as error:
            yield Failed(openai_errors.cleaned(error, self._endpoint).as_dict())
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            yield Failed(self._unreadable(error).as_dict())
        finally:
            if connection is not None:
                self._http.release(connection)
            if inside:
                self._room.release()
            turn.end()

    def _ended(self, reply: Reply) -> list[Chunk]:
        """The end of a body that ended: well, cut off, or never a reply at all."""
        if reply.complete:
            return reply.end()
        if not reply.understood:
            return [Failed(self._unreadable(ValueError("no stream of events")).as_dict())]
        raise ConnectionLost(True)

    def _unreadable(self, error: Exception) -> EngineError:
        return EngineError(f"What {self.where} answers is not OpenAI's protocol ({str(error)[:100]}).",
                           hint="Look at the address in the endpoint file: often it has to end with /v1.",
                           code="engine_unreadable")  # fmt: skip

    async def _open(self, ask: Ask) -> tuple[Connection, list[Notice]]:
        """The connection the reply comes on. What the server does not know is left out, and said each time."""
        body, notices = dict(ask.body), []
        for name in self._unknown:
            if name in body:
                body = without(body, "", name) or body
                notices += self._left_out(name)
        for _ in range(_MOST_REFUSED):
            try:
                connection = await self._http.stream(self._endpoint.api + ask.path, body)
            except OSError:  # a certificate that is not trusted is a ValueError too
                raise
            except (TypeError, ValueError) as error:  # such as a number of more than 64 bits in a JSON schema
                raise BadRequest(f"This cannot be sent to the engine: {error}") from None
            if connection.status == 200:
                return connection, notices
            try:
                raw = await read_all(connection)
            finally:
                self._http.release(connection)
            less = self._less(connection.status, raw, body)
            if less is None:
                raise openai_errors.refusal(connection.status, raw, self.where, connection.retry_after)
            gone = next(name for name in body if name not in less)
            self._unknown[gone] = openai_errors.said_in(openai_errors.parsed(raw))
            notices += self._left_out(gone)
            body = less
        raise EngineError(f"The server at {self.where} refuses the request again and again.")

    def _less(self, status: int, raw: bytes, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """The body without what an unknown kind of server refused."""
        if status not in (400, 422) or self._flavour.complete:
            return None
        answer = openai_errors.parsed(raw)
        return without(body, openai_errors.said_in(answer), openai_errors.named_in(answer))

    def _left_out(self, name: str) -> list[Notice]:
        if name in ("stream_options", "max_tokens"):  # the counts are missed by themselves, the other has two names
            return []
        return [Notice("sampler_ignored", f"The server at {self.where} does not take {name}; it was left out.", name)]

    def _notices(self, request: GenerationRequest) -> list[Notice]:
        if request.template_vars and not self._flavour.template:
            names = ", ".join(request.template_vars)
            return [Notice("template_vars_ignored", f"The server at {self.where} takes no variables for its chat "
                           f"template; {names} was left out.", "template_vars")]  # fmt: skip
        return []

    async def _limit(self, request: GenerationRequest) -> int | None:
        """Tokens a raw prompt may be answered with, where the server has to be given a number."""
        if request.messages is not None or self._flavour.open_limit != "number" or request.params.get("max_tokens"):
            return None
        if not self.info.context:
            return _OPEN_LIMIT
        prompt = request.prompt or ""
        used = len(prompt) if isinstance(prompt, tuple) else len(prompt.encode("utf-8", "replace"))
        if self._flavour.tokenize and isinstance(prompt, str):
            used = len(await self.tokenize(prompt))
        return max(self.info.context - used, min(self.info.context // 4, 512), 1)

    async def render(
        self, messages: tuple[Message, ...], variables: Mapping[str, Any], continue_last: bool = False
    ) -> RenderedPrompt:
        """The server does it itself. Raises Unsupported."""
        raise Unsupported("This server renders chats itself.", hint="Send the messages.")

    async def tokenize(self, text: str, special: bool = True) -> list[int]:
        """See Engine. Raises Unsupported where the server cannot."""
        self._needs_tokens()
        text = text.encode("utf-8", "replace").decode("utf-8")
        body = {"model": self._model, "prompt": text, "add_special_tokens": special}
        return [int(token) for token in (await self._ask("/tokenize", body))["tokens"]]

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """See Engine. Raises Unsupported where the server cannot."""
        self._needs_tokens()
        body = {"model": self._model, "tokens": list(tokens)}
        return str((await self._ask("/detokenize", body))[self._flavour.text_key])

    def _needs_tokens(self) -> None:
        if not self._flavour.tokenize:
            raise Unsupported(f"The server at {self.where} does not tell its tokens.", code="no_tokenizer")

    async def call(self, task: Task[Q, A], request: Q) -> A:
        """See Engine. OpenAI's protocol has embeddings, and no route that ranks."""
        if isinstance(request, EmbedRequest):
            return cast(A, await self._embed(request.texts))
        raise no_task(self.spec, task)

    async def _embed(self, texts: Sequence[str]) -> Embeddings:
        body = {"model": self._model, "input": list(texts), "encoding_format": "float"}
        answer = await self._ask(self._endpoint.api + "/embeddings", body)
        try:
            return await asyncio.to_thread(_embeddings, answer, len(texts))  # a second for many long ones
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise self._unreadable(error) from None

    async def close(self) -> None:
        """Hang up on the server."""
        await self._http.close()

    async def _ask(self, path: str, body: Any) -> Any:
        try:
            found = await self._http.post_raw(path, body)
        except _GONE as error:
            raise await self._why_gone(error, None) from None
        except (TypeError, ValueError) as error:
            raise BadRequest(f"This cannot be sent to the engine: {error}") from None
        if found.status != 200:
            refusal = openai_errors.refusal(found.status, found.body, self.where, found.retry_after)
            raise openai_errors.cleaned(refusal, self._endpoint)
        try:
            answer = orjson.loads(found.body)
        except ValueError as error:
            raise self._unreadable(error) from None
        if not isinstance(answer, dict):
            raise self._unreadable(ValueError("no object"))
        return answer

    async def _why_gone(self, error: BaseException, connection: Connection | None) -> EngineError:
        """The reason of a broken connection: the end of the worker, if it hosts the server and that is it."""
        if self._endpoint.hosted and self._process is not None:
            ended = await self._process.ended(_NOTICE_DEATH)
            if ended is not None:
                return ended
        if isinstance(error, ConnectionLost) and error.given_up:
            return openai_errors.silent(self._endpoint.timeout, self.where)
        return openai_errors.unreachable(error, self.where, connection is not None)


def _embeddings(answer: Mapping[str, Any], count: int) -> Embeddings:
    """The vectors in the order of their texts. Raises ValueError, TypeError or KeyError for what are none."""
    rows = sorted(answer["data"], key=lambda row: int(row["index"]))
    vectors = tuple(unit(row["embedding"]) for row in rows)
    if len(vectors) != count:
        raise ValueError(f"{len(vectors)} embeddings for {count} texts")
    return Embeddings(vectors, int((answer.get("usage") or {}).get("prompt_tokens") or 0))


async def _to_the_end(connection: Connection) -> None:
    """Read what ends the body, so that the connection can be used again; it is there already, or nearly."""
    with contextlib.suppress(TimeoutError, ConnectionLost):
        async with asyncio.timeout(_END_OF_BODY):
            while not connection.finished:
                await connection.piece()
