"""The echo engine: a real worker with an engine that computes nothing.

It answers with the last user message or tool result, with a text or tool calls it is given, or with seeded words, at an
exact speed, and fails on demand. It serves the tests, the benchmarks, and people who write extensions.
"""

from __future__ import annotations

import codecs
import ctypes
import json
import math
import os
import random
import re
import signal
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from loaders.base import Feature, LoaderSpec, LoadParam, LoadRequest, TaskFunction
from loaders.text.media_mark import MEDIA_MARK, marked_text
from modules.errors import OUT_OF_MEMORY, Cancelled, ContextOverflow, EngineError, LoadFailed, Unsupported
from modules.estimates.values import Settings, Step
from modules.formats.facts import ModelFacts
from modules.sampling.params import ECHO, dialect
from modules.tasks import EMBED
from modules.types import (
    Chunk,
    Done,
    Embeddings,
    EngineInfo,
    FinishReason,
    GenerationRequest,
    Message,
    Progress,
    Stats,
    Text,
    TokenLogprob,
    ToolCall,
    TopLogprob,
)  # fmt: skip

MODEL = "echo"


def _half(settings: Settings, facts: ModelFacts) -> Settings:
    context = settings["context"]
    return {"context": context // 2} if isinstance(context, int) and context > 64 else {}


SPEC = LoaderSpec(
    name="echo",
    title="Echo (no model; for tests and extensions)",
    rank=100,
    formats=("echo",),
    params=(
        LoadParam("tokens", "int", 0, "Reply length", "Tokens in a reply of seeded words. 0 = echo.", 0, 10_000_000),
        LoadParam("speed", "float", 0.0, "Speed", "Tokens per second. 0 = as fast as possible.", 0, 1e6),
        LoadParam("script", "text", "", "Reply", "Answer with this text instead of an echo."),
        LoadParam("context", "int", 8192, "Context length", "Tokens of prompt and reply together.", 16, 10_000_000),
        LoadParam("parallel", "int", 8, "Parallel requests", "Replies that run at the same time.", 1, 1024),
        LoadParam("load_time", "float", 0.0, "Load time", "Seconds loading takes.", 0, 3600),
        LoadParam("load_error", "text", "", "Load error", "Loading fails with this reason."),
        LoadParam("fails_above", "int", 0, "Fails above",
                  "With a larger context loading fails as if memory ran out. 0 = never.", 0, 10_000_000),
        LoadParam("memory", "int", 0, "Memory", "MiB to hold while loaded.", 0, 1_000_000),
        LoadParam("crash_at", "int", -1, "Crash at", "Token before which it dies. -1 = never.", -1, 10_000_000),
        LoadParam("crash_signal", "choice", "SIGSEGV", "Crash signal", "The signal it dies of.",
                  choices=("SIGSEGV", "SIGKILL", "SIGABRT", "SIGILL")),
        LoadParam("error_at", "int", -1, "Error at", "Token before which the reply fails. -1 = never.", -1, 10_000_000),
        LoadParam("hang_at", "int", -1, "Hang at", "Token before which it stops for good. -1 = never.", -1, 10_000_000),
        LoadParam("noise", "bool", False, "Noise", "Print to stdout with every token, as C libraries do."),
        LoadParam("renders", "bool", True, "Prompts", "Take prompts. Off = take chats as they are."),
        LoadParam("images", "int", 0, "Images", "Tokens an image takes. 0 = it takes none.", 0, 100_000),
        LoadParam("adapters", "text", "", "Adapters", "Names of LoRA adapters there are, with commas between."),
        LoadParam("negative", "bool", False, "Negative prompt", "Take a negative prompt."),
        LoadParam("tool_calls", "text", "", "Tool calls", "Calls it makes when tools are offered, as JSON: "
                  '[{"name": …, "arguments": {…}}]. Empty = it takes no tools.'),
        LoadParam("embeddings", "int", 0, "Embeddings", "Numbers in a vector. 0 = it makes none.", 0, 10_000),
    ),
    samplers=dialect(ECHO),
    features=frozenset({
        Feature.PARALLEL, Feature.LOGPROBS, Feature.CONTINUE, Feature.VISION, Feature.LORA, Feature.NEGATIVE_PROMPT,
        Feature.EMBEDDINGS, Feature.TOOLS,
    }),
    load="loaders.echo:load",
    builtin_models=(MODEL,),
    ladder=(Step(_half, "The context is {context:,} tokens."),),
)  # fmt: skip

_WORDS = (
    "the of and to in is that it was for on are as with they be at one have this from or had by hot but some what "
    "there we can out other were all your when up use word how said each she which do their time if will way about "
    "many then them would write like so these her long make thing see him two has look more day could go come did"
)
_PIECE = re.compile(rb" ?[^ \n]{1,3}|[ \n]")
_USER, _ASSISTANT, _TOOL = "<|user|>\n", "<|assistant|>\n", "<|tool|>\n"


def pieces(text: str) -> list[bytes]:
    """The tokens of a text: up to four bytes each, so that an emoji is always split over two."""
    return _PIECE.findall(text.encode("utf-8", "replace"))


def token_id(piece: bytes) -> int:
    """A number that holds the piece itself: from the top a space before it (1 bit), its length (2), its bytes (24)."""
    spaced = len(piece) > 1 and piece.startswith(b" ")
    rest = piece[spaced:]
    return spaced << 26 | len(rest) << 24 | int.from_bytes(rest, "big")


def piece_of(token: int) -> bytes:
    """The piece of a number; what is no token of ours is empty."""
    if not 0 < token < 1 << 27:
        return b""
    length = token >> 24 & 3
    return b" " * (token >> 26) + (token & 0xFFFFFF).to_bytes(3, "big")[3 - length :]


class EchoEngine:
    """The backend. Thread-safe: it has no state but its settings."""

    def __init__(self, request: LoadRequest) -> None:
        self._settings = request.settings
        self.tasks: dict[str, TaskFunction] = {
            EMBED.name: lambda asked, cancelled: self.embed(asked["texts"], cancelled)
        }
        self._tool_calls = _calls(str(request.settings["tool_calls"]))
        self._ballast = bytearray(os.urandom(1024) * 1024 * int(self._number("memory")))
        self.info = EngineInfo(
            request.model, SPEC.name, context=int(self._number("context")), slots=int(self._number("parallel")),
            details={"version": "echo", "speed": self._number("speed") or "as fast as possible",
                     "image_tokens": int(self._number("images"))},
            renders_templates=bool(self._settings["renders"]), features=self._features(),
            adapters={name.strip(): 0.0 for name in str(self._settings["adapters"]).split(",") if name.strip()},
        )  # fmt: skip

    def _features(self) -> tuple[str, ...]:
        """What is switched on."""
        switched = {Feature.VISION: "images", Feature.LORA: "adapters", Feature.NEGATIVE_PROMPT: "negative",
                    Feature.EMBEDDINGS: "embeddings", Feature.TOOLS: "tool_calls"}  # fmt: skip
        return tuple(one.value for one in sorted(SPEC.features) if one not in switched or self._settings[switched[one]])

    def _number(self, name: str) -> float:
        value = self._settings[name]
        return value if isinstance(value, (int, float)) else 0

    def generate(self, request: GenerationRequest, cancelled: Callable[[], bool]) -> Iterator[Chunk]:
        """Answer `request.prompt` or the chat; see SPEC.params for what it does besides."""
        started = time.monotonic()
        prompt, prompt_tokens = self._prompt(request)
        if prompt_tokens >= self.info.context:
            raise ContextOverflow(
                f"The prompt has {prompt_tokens} tokens, but the context is {self.info.context}.",
                hint="Shorten it, or load the model with a larger context.",
            )
        yield Progress("prompt", prompt_tokens, prompt_tokens)
        if request.tools and request.tool_choice != "none" and not _answers_tool(prompt):
            yield from self._tool_calls
            yield Done("tool_calls", Stats(prompt_tokens=prompt_tokens, completion_tokens=len(self._tool_calls),
                                           context_limit=self.info.context))  # fmt: skip
            return
        seed = _whole(request.params.get("seed"), -1)
        seed = random.randrange(2**31) if seed < 0 else seed
        reply = pieces(self._reply(prompt, seed) + _told(request))
        limit = _whole(request.params.get("n_predict", request.params.get("max_tokens")), 0)
        room = min(limit or self.info.context, self.info.context - prompt_tokens)
        reason: FinishReason = "length" if len(reply) > room else "stop"
        count, first = 0, 0.0
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        held: list[bytes] = []
        for piece in reply[:room]:
            if not self._wait(started, count, cancelled):
                reason = "cancelled"
                break
            count += 1
            first = first or time.monotonic()
            held.append(piece)
            text = decoder.decode(piece, count == min(room, len(reply)))
            if text:
                yield Text(text, len(held), _logprobs(held, request.logprobs))
                held.clear()
        now = time.monotonic()
        yield Done(reason, Stats(
            prompt_tokens=prompt_tokens, completion_tokens=count, seed=seed, context_limit=self.info.context,
            first_token_ms=((first or now) - started) * 1000, completion_ms=(now - (first or now)) * 1000,
        ))  # fmt: skip

    def _prompt(self, request: GenerationRequest) -> tuple[str, int]:
        """The prompt with what is seen in place of each image, and its tokens."""
        images = list(request.images)
        if request.messages is not None:
            images = [image for message in request.messages for image in message.images]
            prompt = self.render(request.messages, request.template_vars, request.continue_last)
        elif isinstance(request.prompt, str):
            prompt = request.prompt
        else:
            prompt = self.detokenize(list(request.prompt or ()))
        if self._number("images"):
            between = prompt.split(MEDIA_MARK)
            if len(between) != len(images) + 1:
                raise EngineError(f"There are {len(between) - 1} places for images, but {len(images)} images.")
            prompt = between[0] + "".join(map(str.__add__, map(_seen, images), between[1:]))
            return prompt, sum(len(pieces(text)) for text in between) + len(images) * int(self._number("images"))
        return prompt, len(pieces(prompt))

    def _wait(self, started: float, count: int, cancelled: Callable[[], bool]) -> bool:
        """Until token `count` is due, counted from the start so that no error adds up. False when cancelled."""
        self._misbehave(count)
        if speed := self._number("speed"):
            due = started + count / speed
            while (left := due - time.monotonic()) > 0 and not cancelled():
                time.sleep(min(left, 0.02))
        return not cancelled()

    def _misbehave(self, count: int) -> None:
        if self._settings["noise"]:
            ctypes.CDLL(None).puts(b'{"id": 1, "kind": "text", "text": "noise", "tokens": 1}')
        if count == self._number("crash_at"):
            os.kill(os.getpid(), getattr(signal, str(self._settings["crash_signal"])))
            time.sleep(60)
        if count == self._number("error_at"):
            raise EngineError(f"The echo engine fails at token {count}, as it was told to.")
        if count == self._number("hang_at"):
            print(f"hangs before token {count}, as it was told to", file=sys.stderr, flush=True)
            while True:
                time.sleep(60)

    def _reply(self, prompt: str, seed: int) -> str:
        begun = prompt.rpartition(_ASSISTANT)[2] if _ASSISTANT in prompt else ""
        if script := str(self._settings["script"]):
            reply = script
        elif tokens := int(self._number("tokens")):
            drawn, words = random.Random(seed), _WORDS.split(" ")
            reply = "".join(" " + drawn.choice(words) for _ in range(tokens))
            return b"".join(pieces(reply)[:tokens]).decode()
        else:
            last = _TOOL if _answers_tool(prompt) else _USER
            asked = prompt.rpartition(_ASSISTANT)[0].rpartition(last)[2] if last in prompt else prompt
            reply = asked.removesuffix("\n")
        return reply[len(begun) :] if begun and reply.startswith(begun) else reply

    def render(self, messages: tuple[Message, ...], variables: Mapping[str, Any], continue_last: bool) -> str:
        """Each message under its role; the assistant's open at the end."""
        parts = [f"<|{message.role}|>\n{marked_text(message)}\n" for message in messages]
        if continue_last and parts:
            return "".join(parts)[:-1]
        return "".join(parts) + _ASSISTANT

    def tokenize(self, text: str, special: bool) -> list[int]:
        """Numbers that hold their bytes; there are no special tokens."""
        return [token_id(piece) for piece in pieces(text)]

    def detokenize(self, tokens: list[int]) -> str:
        """The text of those numbers."""
        return b"".join(map(piece_of, tokens)).decode("utf-8", "replace")

    def embed(self, texts: list[str], cancelled: Callable[[], bool]) -> Embeddings:
        """Made up, but alike for texts that share words: each word points somewhere, and the text where all do."""
        width = int(self._number("embeddings"))
        if not width:
            raise Unsupported("This echo engine makes no embeddings.", hint="Load it with its setting embeddings.")
        started, tokens, vectors = time.monotonic(), 0, []
        for text in texts:
            if not self._wait(started, tokens, cancelled):
                raise Cancelled("The request was cancelled.")
            vectors.append(_vector(text, width))
            tokens += len(pieces(text))
        return Embeddings(tuple(vectors), tokens)

    def close(self) -> None:
        """Nothing to give back."""


def _calls(text: str) -> list[ToolCall]:
    """The calls of the setting tool_calls: each in two pieces, as engines stream them. Raises LoadFailed."""
    try:
        calls = [(str(call["name"]), json.dumps(call.get("arguments", {}))) for call in json.loads(text or "[]")]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LoadFailed(f"tool_calls is not a JSON list of calls: {error}",
                         hint='Write [{"name": "get_weather", "arguments": {"city": "Oslo"}}].') from error  # fmt: skip
    return [piece for index, (name, arguments) in enumerate(calls)
            for piece in (ToolCall(index, f"call_{index}", name), ToolCall(index, arguments=arguments))]  # fmt: skip


def _answers_tool(prompt: str) -> bool:
    """Whether the last thing said is a tool's result, not a person's message."""
    return prompt.rfind(_TOOL) > prompt.rfind(_USER)


def _seen(image: str) -> str:
    return f"[image {zlib.crc32(image.encode()):08x}]"


def _told(request: GenerationRequest) -> str:
    """What else came with the request, so that a test sees that it arrived."""
    lora = "" if request.lora is None else f" lora={dict(request.lora)}"
    return lora + (f" negative={request.negative_prompt}" if request.negative_prompt else "")


def _vector(text: str, width: int) -> tuple[float, ...]:
    """Of length 1."""
    total = [0.0] * width
    for word in text.lower().split() or [""]:
        drawn = random.Random(word)
        total = [value + drawn.gauss(0, 1) for value in total]
    length = math.sqrt(sum(value * value for value in total)) or 1.0
    return tuple(value / length for value in total)


def _whole(value: object, default: int) -> int:
    return int(value) if isinstance(value, (int, float)) else default


def _logprobs(held: list[bytes], wanted: int | None) -> tuple[TokenLogprob, ...]:
    """Made up, but always the same for the same token: the chosen one is likeliest, rivals halve from there."""
    if wanted is None:
        return ()
    out = []
    for piece in held:
        best = math.log(0.5 + 0.4 * (zlib.crc32(piece) % 1000) / 1000)
        chosen = _candidate(piece, best)
        rivals = (
            _candidate(b"~%d" % n, math.log(1 - math.exp(best)) - (n + 1) * math.log(2)) for n in range(wanted - 1)
        )
        out.append(TokenLogprob(chosen, (chosen, *rivals) if wanted else ()))
    return tuple(out)


def _candidate(piece: bytes, logprob: float) -> TopLogprob:
    return TopLogprob(piece.decode("utf-8", "replace"), logprob, tuple(piece), token_id(piece))


def load(request: LoadRequest, progress: Callable[[float, str], None]) -> EchoEngine:
    """Take `load_time` seconds, then serve or fail, as the settings say."""
    seconds = request.settings["load_time"]
    total = float(seconds) if isinstance(seconds, (int, float)) else 0.0
    until = time.monotonic() + total
    while (left := until - time.monotonic()) > 0:
        progress(1 - left / total, "loading")
        time.sleep(min(left, 0.05))
    if reason := request.settings["load_error"]:
        raise LoadFailed(str(reason))
    most, context = request.settings["fails_above"], request.settings["context"]
    if isinstance(most, int) and isinstance(context, int) and 0 < most < context:
        raise LoadFailed("There was not enough memory.", hint="Try a smaller context.", code=OUT_OF_MEMORY)
    return EchoEngine(request)
