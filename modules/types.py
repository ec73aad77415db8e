"""The values that travel: requests down, chunks up. Pure data, no behaviour beyond small helpers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from modules.messages.message import Message as Message
from modules.messages.message import RenderedPrompt as RenderedPrompt
from modules.messages.message import Role as Role
from modules.messages.parts import ToolCall as ToolCall

T = TypeVar("T")
ParamValue = bool | int | float | str | list[Any] | dict[str, Any]
FinishReason = Literal["stop", "length", "tool_calls", "cancelled"]
Overflow = Literal["error", "drop_oldest"]
Thinking = Literal["default", "on", "off"]


@dataclass(frozen=True, slots=True)
class Decision(Generic[T]):
    """A value picked automatically, with the reason in people's words."""

    value: T
    why: str


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One reply asked for. Exactly one of `messages` and `prompt` is set.

    An engine gets a `prompt`, made of the messages; one that renders chats itself (EngineInfo.renders_templates is
    False) gets the messages as they are.

    id          unique for the life of the server
    model       a catalogue name; None = the model that is loaded
    messages    a chat, rendered with the model's own template in the worker
    prompt      raw text or token ids, sent as it is
    params      values by PARAMS name; a name left out is neutral
    stop        strings that end the reply and are not part of it
    logprobs    None = off, n = the chosen token's logprob and the n best alternatives (0..20)
    continue_last  the last message is the assistant's and is to be continued, not answered
    merge_neighbours  consecutive messages of one role are sent as one
    overflow    what to do when the prompt does not fit: refuse, or drop the oldest messages (said in a Ledger)
    grammar     GBNF text, or "" ; json_schema a JSON schema as dict, or None
    template_vars  further variables for the chat template (enable_thinking …)
    echo        raw prompts only: give the prompt back before the completion
    origin      who asked ("chat", "openai", …), for hooks and logs
    images      base64 image files of a raw prompt; those of a chat are in its messages
    image_places  for each of `images`, the character of `prompt` before which it stands, ascending
    lora        scale by adapter name for this reply; None = as the model was loaded, {} = none
    negative_prompt  raw text for guidance_scale
    thinking    whether the model thinks, where its template can switch it; a variable in template_vars counts more
    keep_marks  whether control tokens that mark thinking stay in the text, for the stream parser
    prompt_text what a `prompt` of token ids was made of, where that is known, for engines that compare prompts
    tools       the functions the model may call, each in OpenAI's shape: {"type": "function", "function": {"name", …}}
    tool_choice "auto", "none", "required", or {"type": "function", "function": {"name": …}}
    parallel_tool_calls  whether one reply may make several calls; None = the engine's default
    """

    id: str
    model: str | None = None
    messages: tuple[Message, ...] | None = None
    prompt: str | tuple[int, ...] | None = None
    params: Mapping[str, ParamValue] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    continue_last: bool = False
    overflow: Overflow = "error"
    grammar: str = ""
    json_schema: Mapping[str, Any] | None = None
    template_vars: Mapping[str, Any] = field(default_factory=dict)
    echo: bool = False
    origin: str = ""
    prompt_text: str = ""
    keep_marks: bool = False
    thinking: Thinking = "default"
    images: tuple[str, ...] = ()
    lora: Mapping[str, float] | None = None
    negative_prompt: str = ""
    merge_neighbours: bool = False
    image_places: tuple[int, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: str | Mapping[str, Any] = "auto"
    parallel_tool_calls: bool | None = None


@dataclass(frozen=True, slots=True)
class TopLogprob:
    """One candidate token. `logprob` in nats; `bytes` its exact UTF-8 bytes (may be part of a character)."""

    token: str
    logprob: float
    bytes: tuple[int, ...] = ()
    token_id: int | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The chosen token and its best rivals, best first."""

    chosen: TopLogprob
    top: tuple[TopLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the reply. Always whole characters. `tokens` = how many tokens it stands for."""

    text: str
    tokens: int = 1
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of the model's thinking, split off by the stream parser."""

    text: str
    tokens: int = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """Work before the first token. `stage`: "loading" (done/total in percent), "queued", "prompt" (tokens)."""

    stage: str
    done: int
    total: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the server decided or could not do, said instead of done silently.

    code: "sampler_ignored", "model_loaded", "loader_chosen", "context_dropped", "engine_restarted", …
    """

    code: str
    message: str
    param: str | None = None


@dataclass(frozen=True, slots=True)
class LedgerSource:
    """What one source of messages ("system_prompt", "history", …) takes of the context, and what was left out of it.

    Tokens are the source's part of the whole count, shared out by the length of its messages.
    """

    name: str
    tokens: int
    messages: int
    dropped_tokens: int = 0
    dropped_messages: int = 0


@dataclass(frozen=True, slots=True)
class Ledger:
    """What went into the context. Counts in tokens unless the name says messages.

    exact = False when the count is an upper bound (cheap path); the final Stats are always exact.
    model = the model that answers, also when the request left the choice to the server.
    oversized_messages = those of dropped_messages that were left out because each is larger than the context; they
    may stand anywhere, the other dropped ones are the oldest.
    sources = what came from where; empty for a raw prompt.
    """

    limit: int
    prompt_tokens: int
    reserved: int
    kept_messages: int
    dropped_messages: int
    dropped_tokens: int = 0
    exact: bool = True
    why: str = ""
    model: str = ""
    oversized_messages: int = 0
    sources: tuple[LedgerSource, ...] = ()


@dataclass(frozen=True, slots=True)
class Stats:
    """Figures of one reply. Times in milliseconds, speeds in tokens per second."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    prompt_ms: float = 0.0
    completion_ms: float = 0.0
    first_token_ms: float = 0.0
    queued_ms: float = 0.0
    seed: int | None = None
    context_limit: int = 0

    @property
    def tokens_per_second(self) -> float:
        """Decoding speed, 0 when nothing was timed."""
        if self.completion_ms <= 0 or self.completion_tokens < 2:
            return 0.0
        return self.completion_tokens / self.completion_ms * 1000


@dataclass(frozen=True, slots=True)
class Done:
    """The reply ended well. `stop` is the stop string that ended it, if one did."""

    reason: FinishReason
    stats: Stats = Stats()
    stop: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The reply ended badly; what came before stays valid, and `stats` counts it. `error` has the keys of
    errors.as_dict."""

    error: Mapping[str, Any]
    stats: Stats = Stats()


Chunk = Text | Reasoning | ToolCall | Progress | Notice | Ledger | Stats | Done | Failed


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an HTTP engine listens. `flavour` names the driver ("llama-server", "openai", "vllm", …).

    api      the path before OpenAI's routes, below `url`
    model    what the server calls the model, "" = what we call it
    hosted   whether our worker runs the server; False = it is somebody else's
    timeout  seconds without a sign of life after which a reply counts as lost
    slot_dir folder it saves computed prompts in, "" = it does not
    llguidance  whether its grammar field takes llguidance's own language beside GBNF
    """

    url: str
    key: str = field(repr=False)
    flavour: str
    api: str = "/v1"
    model: str = ""
    hosted: bool = True
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    verify: bool = True
    ca_file: str = ""
    timeout: float = 600.0
    slot_dir: str = ""
    llguidance: bool = False


@dataclass(frozen=True, slots=True)
class ThinkingSwitch:
    """The variable of a chat template that turns thinking on and off.

    default  whether the model thinks when the variable is not given; None = neither value gives the same prompt
    """

    name: str
    on: bool | str
    off: bool | str
    default: bool | None = None


@dataclass(frozen=True, slots=True)
class TemplateTraits:
    """What a chat template takes, found by rendering short chats with it when the model is loaded.

    system_role  whether it takes a system message; otherwise its text goes into the first user message
    same_role    whether it takes two messages of one role in a row; otherwise they become one
    thinking     the variable that turns thinking on and off, None = the template has none
    reasons      whether the template holds marks of thinking: its model thinks, whatever is wished
    """

    system_role: bool = True
    same_role: bool = True
    thinking: ThinkingSwitch | None = None
    reasons: bool = False


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a loaded model turned out to be.

    context       tokens one request may use
    slots         requests that run at the same time; more wait in the engine's queue
    chat_template whether the model brings one; without it chats use a plain fallback, said as a Notice
    details       engine-specific facts for the Model tab (layers on GPU, KV type, threads, version …)
    renders       whether a chat is rendered to a prompt by us; False = the engine takes messages and does it itself
    adapters      names of the LoRA adapters a request may use, with the scale each has by default
    shifts_context  whether a reply that fills the context goes on, its oldest part forgotten
    features      what this model can do of what its loader can ("images" needs an image part …); None = all of it
    leaves        where text goes when it leaves this machine ("api.example.com"), "" when it stays
    template      what the chat template takes
    worker_renders  whether the worker renders chats for an endpoint; False = the server there does
    """

    model: str
    loader: str
    context: int
    slots: int = 1
    chat_template: bool = True
    endpoint: Endpoint | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    renders_templates: bool = True
    adapters: Mapping[str, float] = field(default_factory=dict)
    features: tuple[str, ...] | None = None
    sends_to: str = ""
    shifts_context: bool = False
    template: TemplateTraits = TemplateTraits()
    worker_renders: bool = True


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One vector per text, each of the model's width, of length 1. `tokens` is what all texts came to."""

    vectors: tuple[tuple[float, ...], ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """One score per document, in their order; larger fits better. `tokens` is what all pairs came to."""

    scores: tuple[float, ...]
    tokens: int
