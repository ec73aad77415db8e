"""The extensions' hooks as the pipeline calls them: one by one, each isolated from the others."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pluggy

from modules.errors import EnginehouseError
from modules.hooks import specs as hookspecs
from modules.hooks.calls import call, call_async, describe
from modules.hooks.streams import guarded
from modules.messages.parts import PART_TYPES, FilePart, FunctionCall, TextPart
from modules.sampling.params import check_values
from modules.types import Chunk, GenerationRequest, Message, Notice

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HookLimits:
    """Seconds an extension may take. `start` covers import, setup, loaders and routes; `request` edit_request;
    `chunk` the time a wrap_stream may sit on one chunk."""

    start: float = 15.0
    request: float = 5.0
    chunk: float = 5.0


class Hooks:
    """All registered extensions. Owner of the pluggy manager; nothing else calls a hook.

    `on_problem(extension, text)` hears of every fault, so that the Settings tab can show it.
    """

    def __init__(self, limits: HookLimits | None = None) -> None:
        self.limits = limits or HookLimits()
        self.on_problem: Callable[[str, str], None] | None = None
        self.context_of: Callable[[str], Any] = lambda name: None
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._off: set[tuple[str, str]] = set()

    def register(self, name: str, module: object) -> str:
        """Add one extension. Returns a warning, "" if there is none. Raises ValueError for wrong signatures."""
        try:
            self._manager.register(module, name=name)
        except pluggy.PluginValidationError as error:
            self._manager.unregister(name=name)
            raise ValueError(" ".join(str(error).split())) from error
        callers = self._manager.get_hookcallers(module) or []
        wrappers = [
            caller.name
            for caller in callers
            for impl in caller.get_hookimpls()
            if impl.plugin_name == name and (impl.wrapper or impl.hookwrapper)
        ]
        if wrappers:
            self._manager.unregister(name=name)
            raise ValueError(f"hook wrappers are not offered ({', '.join(wrappers)})")
        unknown = [caller.name for caller in callers if not caller.has_spec()]
        return f"This version does not know its hooks {', '.join(unknown)}." if unknown else ""

    def unregister(self, name: str) -> None:
        """Take an extension out; unknown names are fine."""
        if self._manager.has_plugin(name):
            self._manager.unregister(name=name)

    def call_each(self, hook: str, **given: Any) -> Iterator[tuple[str, Any]]:
        """Call a start-up hook of every extension; yields (extension, value) of those that worked."""
        for impl in list(self._each(hook)):
            name = impl.plugin_name
            arguments = {"context": self.context_of(name), **given}
            outcome = call(impl.function, [arguments[key] for key in impl.argnames], self.limits.start)
            if outcome.problem:
                self.fault(name, hook, outcome.problem, off=outcome.hung)
            elif outcome.value is not None:
                yield name, outcome.value

    async def edit_request(self, request: GenerationRequest) -> tuple[GenerationRequest, tuple[Notice, ...]]:
        """The request after every extension's edit, and what went wrong on the way."""
        notices: list[Notice] = []
        for impl in list(self._each("edit_request")):
            name = impl.plugin_name
            given = {"request": request, "context": self.context_of(name)}
            outcome = await call_async(impl.function, [given[key] for key in impl.argnames], self.limits.request)
            problem = outcome.problem
            if not problem and outcome.value is not None:
                problem = _unusable(outcome.value)
                if not problem:
                    request = replace(outcome.value, id=request.id, origin=request.origin)
            if problem:
                notices.append(self.fault(name, "edit_request", problem, off=outcome.hung))
        return request, tuple(notices)

    def wrap_stream(
        self, request: GenerationRequest, chunks: AsyncGenerator[Chunk, None]
    ) -> AsyncGenerator[Chunk, None]:
        """`chunks` inside every extension's wrapper. Gives back `chunks` itself when there is none."""
        for impl in list(self._each("wrap_stream")):

            def report(problem: str, hung: bool = False, name: str = impl.plugin_name) -> Notice:
                return self.fault(name, "wrap_stream", problem, off=hung)

            names, function = impl.argnames, impl.function

            def begin(tap: Any, names: Any = names, function: Any = function) -> Any:
                given = {"request": request, "chunks": tap}
                return function(*[given[key] for key in names])

            chunks = guarded(chunks, begin, report, self.limits.chunk)
        return chunks

    def fault(self, extension: str, hook: str, problem: str, off: bool = False) -> Notice:
        """Note a fault, switch the hook off if it hung, and say it as a Notice."""
        text = f"The extension {extension!r} failed in {hook}: {problem}."
        if off:
            self._off.add((extension, hook))
            text += " That hook is off until the next start."
        log.warning(text)
        if self.on_problem is not None:
            self.on_problem(extension, text)
        return Notice("extension_failed", text, param=extension)

    def _each(self, hook: str) -> Iterator[pluggy.HookImpl]:
        """Implementations in pluggy's call order, less those that are switched off."""
        for impl in reversed(getattr(self._manager.hook, hook).get_hookimpls()):
            if (impl.plugin_name, hook) not in self._off:
                yield impl


def _unusable(value: Any) -> str:
    """Why what edit_request returned cannot be used; "" when it can."""
    if not isinstance(value, GenerationRequest):
        return f"it returned {type(value).__name__} instead of a GenerationRequest or None"
    if (value.messages is None) == (value.prompt is None):
        return "its request has to have either messages or a prompt"
    if wrong := _wrong_field(value):
        return f"its request has no valid {wrong}"
    try:
        check_values(value.params)
    except EnginehouseError as error:
        return f"its request is not valid: {error.message}"
    except Exception as error:  # an extension can put anything into the mapping
        return describe(error)
    return ""


def _wrong_field(request: Any) -> str:
    """A field of another type than promised, which would be noticed only deep in the pipeline; "" without one."""
    messages = request.messages or ()
    if not isinstance(messages, (tuple, list)) or not all(isinstance(one, Message) for one in messages):
        return "messages"
    if not all(_is_sound(one) for one in messages):
        return "messages"
    if not _are_texts(request.images):
        return "images"
    if not isinstance(request.tools, tuple) or not all(isinstance(one, Mapping) for one in request.tools):
        return "tools"
    if not isinstance(request.negative_prompt, str):
        return "negative_prompt"
    lora = {} if request.lora is None else request.lora
    if not isinstance(lora, Mapping) or not _are_texts(tuple(lora)):
        return "lora"
    return "" if all(isinstance(scale, (int, float)) for scale in lora.values()) else "lora"


def _is_sound(message: Message) -> bool:
    """Whether a message holds what its type promises, down to the strings."""
    texts: tuple[object, ...] = (message.role, message.name, message.tool_call_id, message.reasoning)
    texts += tuple(text for call in message.tool_calls if isinstance(call, FunctionCall) for text in
                   (call.id, call.name, call.arguments))  # fmt: skip
    bodies = [part.text if isinstance(part, TextPart) else part.sha256 if isinstance(part, FilePart) else part.data
              for part in message.content if isinstance(part, PART_TYPES)]  # fmt: skip
    whole = len(bodies) == len(message.content) and all(isinstance(one, FunctionCall) for one in message.tool_calls)
    return whole and all(isinstance(text, str) for text in (*texts, *bodies))


def _are_texts(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(one, str) for one in value)
