"""Why an engine ended: its exit code and the last lines of its log, in people's words, with a next step."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modules.errors import OUT_OF_MEMORY, EngineCrashed, EngineError, LoadFailed, from_dict


@dataclass(frozen=True, slots=True)
class Cause:
    """A reason and what to do about it; `is_memory` = smaller settings may help."""

    message: str
    hint: str
    is_memory: bool = False


@dataclass(frozen=True, slots=True)
class _Pattern:
    """Words in a log that name a cause; `{0}` in the texts is the pattern's first group."""

    words: str
    message: str
    hint: str
    is_memory: bool = False

    def found(self, log: str) -> Cause | None:
        match = re.search(self.words, log, re.IGNORECASE)
        if match is None:
            return None
        said = (match.group(1).strip() if match.re.groups and match.group(1) else "")[:200]
        return Cause(self.message.format(said), self.hint.format(said), self.is_memory)


_SMALLER = "Try a smaller context, fewer GPU layers, a smaller model, or close other programs."
_SEE_LOG = "The engine's log has the details (Settings tab, or user_data/logs)."

# Ordered: the specific before the general. The words are llama.cpp's, ggml's, PyTorch's and the loader's (ld.so).
_PATTERNS: tuple[_Pattern, ...] = (
    _Pattern(r"unknown (?:model )?architecture:? '?([\w.\-]+)", "This engine does not know the architecture {0}.",
             "Update the engine (python3 start.py install), or use a model it knows."),
    _Pattern(r"(?:CUDA error: out of memory|CUDA out of memory|cudaMalloc failed: out of memory|"
             r"hipErrorOutOfMemory|ErrorOutOfDeviceMemory)",
             "The graphics memory is full.", "Lower gpu_layers or the context, or use a smaller model.", True),
    _Pattern(r"CUDA error: ([^\n]+)", "The graphics card's driver reported an error: {0}.",
             "Restart the machine or its driver; if it comes back, lower gpu_layers."),
    _Pattern(r"(?:failed to allocate|unable to allocate|cannot allocate memory|std::bad_alloc"
             r"|alloc_tensor_range: failed|failed to create context|MemoryError)",
             "There was not enough memory.", _SMALLER, True),
    _Pattern(r"data is not within the file bounds|file is truncated|unexpectedly reached end",
             "The model file is incomplete.", "Download it again."),
    _Pattern(r"invalid magic|gguf_init_from_\w+: failed to read|failed to read (?:magic|key|tensor|header)|"
             r"this is not a gguf|bad magic",
             "The model file is damaged, or it is not a GGUF file.", "Download it again."),
    _Pattern(r"GGUF version (\d+) is (?:not supported|extremely large)|unsupported (?:gguf|file) version:? ?(\d+)?",
             "The model file has a version this engine does not read.", "Update the engine or convert the file."),
    _Pattern(r"missing tensor '([^']+)'|tensor '([^']+)' not found",
             "The model file lacks a part the engine needs ({0}).", "Download it again, or update the engine."),
    _Pattern(r"error loading model hyperparameters: ([^\n]+)", "The model's header is not usable: {0}.",
             "Download it again, or convert it again with a current converter."),
    _Pattern(r"error loading model vocabulary: ([^\n]+)", "The model's vocabulary is not usable: {0}.",
             "Download it again, or convert it again with a current converter."),
    _Pattern(r"invalid ggml type|unknown ggml type|has invalid ggml type",
             "The model is quantised in a way this engine does not know.", "Update the engine, or use another file."),
    _Pattern(r"(?:No such file or directory|failed to open|cannot open) ?[^\n]*\.gguf", "The model file is gone.",
             "Look whether it was moved, then refresh the list of models."),
    _Pattern(r"GLIBC(?:XX)?_([\d.]+)' not found", "The engine needs a newer system library (glibc {0}).",
             "Use a newer system, or build the engine on this one."),
    _Pattern(r"(\S+\.(?:so[\d.]*|dll|dylib)): cannot open shared object", "A system library is missing: {0}.",
             "Install the package it is in, or reinstall the engine (python3 start.py install)."),
    _Pattern(r"DLL load failed while importing ([^\n]+)", "A system library is missing for {0}.",
             "Install the Microsoft Visual C++ runtime, or reinstall the engine."),
    _Pattern(r"No module named '([\w.]+)'", "The engine's package {0} is not installed.",
             "Install it: python3 start.py install."),
    _Pattern(r"couldn't bind|address already in use|failed to bind|bind\(\) failed",
             "The engine could not open its port.", "Another program took it; try again."),
    _Pattern(r"No space left on device", "The disk is full.", "Make room, then try again."),
    _Pattern(r"GGML_ASSERT\((.+)\) failed", "The engine stopped at a fault of its own: {0}.",
             "Try other settings (context, batch size, KV type) or update the engine."),
    _Pattern(r"terminate called after throwing[^\n]*\n(?:[^\n]*what\(\):\s*([^\n]+))?",
             "The engine ended with an error of its own. {0}", _SEE_LOG),
    _Pattern(r"error loading model: ([^\n]+)", "The engine refused the model: {0}.", _SEE_LOG),
)  # fmt: skip

_SIGNALS: Mapping[int, Cause] = {
    int(getattr(signal, name)): cause
    for name, cause in {
        "SIGKILL": Cause("The engine was killed. Unless somebody did that, the system was out of memory.", _SMALLER),
        "SIGILL": Cause("This processor lacks instructions the engine was built for (AVX2).",
                        "Build the engine on this machine, or use a loader without it."),
        "SIGSEGV": Cause("The engine crashed (invalid memory access).",
                         "Try again; if it comes back, update the engine or try other settings."),
        "SIGBUS": Cause("The engine crashed while reading the model file.",
                        "The file changed meanwhile, or the disk failed. Download it again, or turn mmap off."),
        "SIGABRT": Cause("The engine stopped itself at an internal error.", _SEE_LOG),
        "SIGFPE": Cause("The engine crashed (arithmetic error).", "Try other settings or another file."),
        "SIGTERM": Cause("The engine was ended from outside.", "Load the model again."),
    }.items()
    if hasattr(signal, name)
}  # fmt: skip
_OUT_OF_MEMORY = Cause("The system killed the engine because memory ran out.", _SMALLER, True)
_FROM_OUTSIDE = Cause("The engine was killed from outside (kill -9); memory was not short.", "Load the model again.")
_KILLED = Cause("The engine was killed (signal 9), by the system because memory ran out or by another program.",
                _SMALLER, True)  # fmt: skip
"""Where the system does not count what it kills for memory."""
_WINDOWS = {0xC0000005: "SIGSEGV", 0xC000001D: "SIGILL", 0xC0000017: "SIGKILL", 0xC0000409: "SIGABRT"}


def cause_in(log: str) -> Cause | None:
    """The cause a log names, if it names one we know."""
    for pattern in _PATTERNS:
        if cause := pattern.found(log):
            return cause
    return None


def cause_of(exit_code: int | None, log: str, memory_short: bool | None = None) -> Cause:
    """Why a process ended. `exit_code` as subprocess gives it: negative = the signal; None = still there.

    memory_short  whether the system killed something for want of memory meanwhile; None = it does not say
    """
    named = cause_in(log)
    if exit_code is None:
        return named or Cause("The engine stopped answering.", "Load the model again.")
    number = -exit_code if exit_code < 0 else _windows_signal(exit_code)
    if number == getattr(signal, "SIGKILL", 9):
        return _KILLED if memory_short is None else _OUT_OF_MEMORY if memory_short else _FROM_OUTSIDE
    if number == getattr(signal, "SIGILL", 4) and number in _SIGNALS:
        return _SIGNALS[number]
    if named is not None:
        return named
    if number in _SIGNALS:
        return _SIGNALS[number]
    if number:
        return Cause(f"The engine was ended by signal {number}.", _SEE_LOG)
    return Cause(f"The engine ended by itself (exit code {exit_code}).", _SEE_LOG)


def _windows_signal(exit_code: int) -> int:
    name = _WINDOWS.get(exit_code & 0xFFFFFFFF)
    return int(getattr(signal, name, 0)) if name else 0


def crashed(exit_code: int | None, log: str, memory_short: bool | None = None) -> EngineError:
    """The error of an engine that ended while it served."""
    cause = cause_of(exit_code, log, memory_short)
    return EngineCrashed(cause.message, hint=cause.hint)


def load_failed(exit_code: int | None, log: str, memory_short: bool | None = None, said: str = "") -> EngineError:
    """The error of a load that failed: the log's reason, else what the engine said, else its exit."""
    cause = cause_in(log)
    if cause is None and said:
        named = cause_in(said)  # an exception of the engine's library
        cause = Cause(said, _SEE_LOG, named is not None and named.is_memory)
    if cause is None:
        cause = cause_of(exit_code, log, memory_short)
    return LoadFailed(cause.message, hint=cause.hint, code=OUT_OF_MEMORY if cause.is_memory else None)


def told_by_loader(data: dict[str, Any]) -> EngineError:
    """The error a loader raised (`as_dict`); anything that is not a failed load becomes one with the same text."""
    error = from_dict(data)
    if isinstance(error, EngineError) and type(error) is not EngineError:
        return error
    code = error.code if isinstance(error, EngineError) else None
    return LoadFailed(error.message, hint=error.hint, param=error.param, code=code)


def hung(seconds: float) -> EngineError:
    """The error of an engine that does nothing any more."""
    return EngineCrashed(
        f"The engine did nothing for {seconds:.0f} seconds and was ended.",
        hint="Try again; if it comes back, try other settings. " + _SEE_LOG,
        code="engine_hung",
    )
