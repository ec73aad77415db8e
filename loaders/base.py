"""The contract of a loader: one spec on top of its file, one `load` function that runs in the worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol

from modules.errors import BadParameter, shown_value
from modules.sampling.param import as_flag, as_number, written
from modules.tasks import Task
from modules.types import Chunk, EngineInfo, GenerationRequest, Message, ParamValue

if TYPE_CHECKING:
    from modules.estimates.values import Estimator, Step


class Feature(StrEnum):
    """What an engine can do beyond plain text; data, so nobody asks for a loader by name."""

    PARALLEL = "parallel"
    PROMPT_CACHE = "prompt cache"
    LOGPROBS = "logprobs"
    GRAMMAR = "grammar"
    JSON_SCHEMA = "json schema"
    CONTINUE = "continue a reply"
    ECHO_PROMPT = "echo the prompt"
    EMBEDDINGS = "embeddings"
    RERANK = "rerank"
    LORA = "lora adapters"
    VISION = "images"
    SPECULATION = "speculative decoding"
    SLOT_STATES = "save and restore prompts"
    NEGATIVE_PROMPT = "negative prompt"
    TOOLS = "tools"


@dataclass(frozen=True, slots=True)
class LoadParam:
    """One setting of a loader: a widget on the Model tab, a `settings` key of the load API.

    A `default` of 0 or "" usually means "let the engine decide"; `help` says so.

    kind   "files" is text that names files of the models folder, one or several: `name` or `name=scale`, with commas
           between; they reach the load function as LoadRequest.files, found and checked
    files  for kind "files", what each has to be: "adapter", "mmproj", "control-vector", "model"
    special  what a number stands for instead of an amount: {0: "none"}; `help` says it too
    group  heading it stands under on the Model tab
    """

    name: str
    kind: Literal["int", "float", "bool", "text", "choice", "files"]
    default: ParamValue
    label: str
    help: str
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    files: str = ""
    group: str = "General"
    special: Mapping[float, str] = field(default_factory=dict)

    def check(self, value: Any) -> ParamValue:
        """`value` as this setting's type. Raises BadParameter naming what is allowed."""
        if value is None:
            return self.default
        flag = as_flag(value)
        if self.kind == "bool" and flag is not None:
            return flag
        if self.kind in ("text", "files") and isinstance(value, str):
            return value
        if self.kind == "choice" and value in self.choices:
            return str(value)
        number = as_number(value)
        if self.kind in ("int", "float") and number is not None:
            whole = self.kind == "float" or number % 1 == 0
            inside = (self.low is None or number >= self.low) and (self.high is None or number <= self.high)
            if whole and inside:
                return int(number) if self.kind == "int" else float(number)
        span = ""
        if self.low is not None and self.high is not None:
            span = f" from {written(self.low)} to {written(self.high)}"
        wanted = "one of " + ", ".join(self.choices) if self.choices else f"{self.kind}{span}"
        raise BadParameter(f"{self.name} is {shown_value(value)}, but it has to be {wanted}.", param=self.name)


@dataclass(frozen=True, slots=True)
class LoaderSpec:
    """What the program knows about a loader without importing its engine.

    formats   what it opens, in the catalogue's words ("gguf")
    samplers  PARAMS name → the engine's own name; a name that is not here is not honoured
    load      "package.module:function", or ".module:function" of an extension's folder; imported in the worker only
    needs     the module to look for (without importing it) to know whether the engine is installed; "!name" = a program
    requirements  the file under requirements/ that installs it
    format_needs  format → module → what pip calls it: packages needed for models of that format only
    install   the command that installs it where no such file does: an engine that lives in an environment of its own
    rank      place among the loaders of a format: the smallest that can run is taken unless another is asked for
    hardware  kinds of device it cannot do without, any of them: ("cuda",); () = runs anywhere
    estimate  what a load will take (see modules/estimates/values.py); None = it cannot be said
    tasks     names of tasks (modules/tasks.py) it has without a feature of that name
    options   names of program settings (modules/settings/store.py) it has to know, as LoadRequest.options
    ladder    how to make a load smaller that did not fit, step by step (see modules/models/fallback.py)
    """

    name: str
    title: str
    formats: tuple[str, ...]
    params: tuple[LoadParam, ...]
    samplers: Mapping[str, str]
    features: frozenset[Feature]
    load: str
    needs: str = ""
    requirements: str = "base"
    install: str = ""
    rank: int = 90
    builtin_models: tuple[str, ...] = ()
    hardware: tuple[str, ...] = ()
    estimate: Estimator | None = None
    ladder: tuple[Step, ...] = ()
    options: tuple[str, ...] = ()
    format_needs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()

    def check_settings(self, settings: Mapping[str, Any]) -> dict[str, ParamValue]:
        """All settings with defaults filled in. Raises BadParameter for an unknown name or a bad value."""
        known = {param.name: param for param in self.params}
        for name in settings:
            if name not in known:
                raise BadParameter(
                    f"The loader {self.name} has no setting called {shown_value(name)}.",
                    hint="It has: " + (", ".join(known) or "none") + ".",
                    param=name[:80],
                )
        return {name: param.check(settings.get(name, param.default)) for name, param in known.items()}


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file of the models folder that goes with a model: its name there, where it is, and its strength."""

    name: str
    path: str
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What a worker is told to load.

    path      the model on disk; for a built-in model its name
    settings  complete and checked
    scratch   a folder the engine may write to
    files     setting name → the files it names, for settings of kind "files"
    options   program settings the spec asks for, as text
    """

    model: str
    path: str
    loader: str
    settings: Mapping[str, ParamValue]
    scratch: str
    files: Mapping[str, tuple[NamedFile, ...]] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)


class EngineBackend(Protocol):
    """An engine inside its worker.

    `generate` is called from one thread per running request, at most `info.slots` at a time. It has to look
    at `cancelled()` at least once per token and return soon after it turns true. It yields Text, Reasoning, ToolCall,
    Progress and Notice, and ends with exactly one Done; an exception becomes Failed. Text holds whole
    characters. Stop strings are not its business: the stream parser above finds them and cancels.
    A prompt with images holds a MEDIA_MARK (loaders/text/media_mark.py) for each, and no other; `render` gives it so.
    An engine with Feature.TOOLS gets `request.tools` and yields ToolCall pieces; it then ends with "tool_calls".
    `render` with `continue_last` leaves the last message open; `tokenize` with `special` adds what the model
    puts around a text (BOS). A backend whose `info.endpoint` is set is never asked for any of these: the server
    speaks to the endpoint.
    """

    info: EngineInfo

    def generate(self, request: GenerationRequest, cancelled: Callable[[], bool]) -> Iterator[Chunk]: ...
    def render(self, messages: tuple[Message, ...], variables: Mapping[str, Any], continue_last: bool) -> str: ...
    def tokenize(self, text: str, special: bool) -> list[int]: ...
    def detokenize(self, tokens: list[int]) -> str: ...
    def close(self) -> None: ...


TaskFunction = Callable[[Mapping[str, Any], Callable[[], bool]], Any]
"""`run(request, cancelled)`: one task of a backend, from its request's fields to its answer, JSON-ready or a dataclass.

A backend that has tasks beside writing text has an attribute `tasks`: name of the task (modules/tasks.py) → function.
They are called from threads of their own, several at the same time. Each has to look at `cancelled()` and raise
Cancelled soon after it turns true, and to let running replies have their turn.
"""


LoadFunction = Callable[[LoadRequest, Callable[[float, str], None]], EngineBackend]
"""`load(request, progress)`: progress(fraction 0..1, what is being done). Raises LoadFailed with a reason."""


def features_of(spec: LoaderSpec, info: EngineInfo) -> frozenset[Feature]:
    """What a loaded model offers: what its loader can do, less what this model cannot."""
    return spec.features if info.features is None else spec.features & {Feature(name) for name in info.features}


def offers(spec: LoaderSpec, info: EngineInfo, task: Task[Any, Any]) -> bool:
    """Whether a loaded model can be asked for a task: by its feature, or because the spec lists it."""
    return task.name in spec.tasks or any(feature.value == task.feature for feature in features_of(spec, info))
