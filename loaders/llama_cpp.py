"""llama.cpp, through xllamacpp: its real server inside our worker, spoken to over loopback by the server process.

The binding is touched only in the worker. It opens an HTTP port without a key and with CORS open to everyone unless
told otherwise, so both are set, and the port is a random one on loopback. Its constructor holds Python's lock until
the model is loaded: no progress can be sent from here meanwhile, the server process watches the worker's memory
grow instead. A person's own llama-server can stand in for it (loaders/llama/own_server.py).
"""

from __future__ import annotations

import platform
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loaders.base import Feature, LoaderSpec, LoadRequest
from loaders.llama import binding, log_warnings, own_server
from loaders.llama.context import choose_context
from loaders.llama.fallback_steps import LADDER
from loaders.llama.info import engine_info
from loaders.llama.launch import Launch, decide
from loaders.llama.probe_http import free_port, props
from loaders.llama.settings import DEFAULT_CONTEXT, SETTINGS
from loaders.served.backend import EndpointBackend
from modules.disk.slot_files import tidy
from modules.errors import LoadFailed, StorageError
from modules.estimates.gguf import estimate_gguf
from modules.formats.gguf import GgufHeader, read_header
from modules.sampling.params import LLAMA, dialect

if TYPE_CHECKING:
    from loaders.llama.prompt_template import ServerTemplate

__all__ = ["DEFAULT_CONTEXT", "SPEC", "choose_context", "load", "missing_instructions"]

SPEC = LoaderSpec(
    name="llama.cpp",
    title="llama.cpp (GGUF models, on processor or graphics card)",
    rank=0,
    formats=("gguf",),
    params=SETTINGS,
    samplers=dialect(LLAMA),
    features=frozenset({
        Feature.PARALLEL, Feature.PROMPT_CACHE, Feature.LOGPROBS, Feature.GRAMMAR, Feature.JSON_SCHEMA,
        Feature.CONTINUE, Feature.LORA, Feature.VISION, Feature.EMBEDDINGS, Feature.RERANK, Feature.SPECULATION,
        Feature.SLOT_STATES,
    }),
    load="loaders.llama_cpp:load",
    needs="xllamacpp",
    estimate=estimate_gguf,
    ladder=LADDER,
    options=("llama_server",),
)  # fmt: skip


def load(request: LoadRequest, progress: Callable[[float, str], None]) -> EndpointBackend:
    """Load a GGUF file and serve it. Raises LoadFailed; for a failure inside the engine its log has the reason."""
    progress(0.01, "reading the model's header")
    header = read_header(Path(request.path))
    launch = _tidied(decide(request, header))
    key = secrets.token_urlsafe(32)
    if command := str(request.options.get("llama_server", "")).strip():
        return _own(request, launch, header, command, key, progress)
    return _bundled(request, launch, header, key, progress)


def _tidied(launch: Launch) -> Launch:
    """Saved prompts of models that are gone, or above the limit, are deleted, and that is said with the model."""
    if not launch.slots:
        return launch
    try:
        said_of_it = str(tidy(Path(launch.slots).parent))
    except StorageError as error:
        said_of_it = f"Old saved prompts stay: {error.message}"
    return replace(launch, notes=(*launch.notes, said_of_it)) if said_of_it else launch


def _template(header: GgufHeader, address: str, key: str, found: Mapping[str, Any]) -> ServerTemplate:
    """What renders the chats of the model."""
    from loaders.llama.prompt_template import server_template  # its library is for workers only

    return server_template(header.chat_template, address, key, found)


def _bundled(
    request: LoadRequest, launch: Launch, header: GgufHeader, key: str, progress: Callable[[float, str], None]
) -> EndpointBackend:
    """The engine in this process."""
    if lacking := missing_instructions():
        raise LoadFailed(
            f"This processor lacks instructions the engine was built for ({', '.join(lacking)}).",
            hint="Build the engine on this machine, or use another loader.",
        )
    progress(0.02, "starting llama.cpp")
    try:
        import xllamacpp
    except ImportError as error:
        raise LoadFailed(f"llama.cpp's binding cannot be loaded: {error}",
                         hint="Install it again: python3 start.py install.") from error  # fmt: skip
    params = binding.common_params(xllamacpp, launch, free_port(), key)
    if launch.slots:
        Path(launch.slots).mkdir(parents=True, exist_ok=True, mode=0o700)
    cards = binding.devices(xllamacpp)
    start = log_warnings.log_size()
    progress(0.03, "loading the model")
    server = xllamacpp.Server(params)
    found = props(server.listening_address, key)
    template = _template(header, server.listening_address, key, found)
    progress(1.0, "ready")
    notes = [*launch.notes, *binding.notes(launch, cards), *_warnings(launch, start)]
    engine = f"llama.cpp in xllamacpp {xllamacpp.__version__}"
    info = engine_info(
        request, launch, header.quant, server.listening_address, key, found, engine, notes, cards, template.traits
    )
    if info.endpoint is not None:  # xllamacpp is built with it; somebody's own llama-server may not be
        info = replace(info, endpoint=replace(info.endpoint, llguidance=True))
    held = [server]  # it stops when its object goes
    return EndpointBackend(info, held.clear, template)


def _own(
    request: LoadRequest, launch: Launch, header: GgufHeader, command: str, key: str,
    progress: Callable[[float, str], None],
) -> EndpointBackend:  # fmt: skip
    """A program of the person's in this worker's care."""
    start = log_warnings.log_size()
    server = own_server.start(launch, command, key, progress)
    found = props(server.address, key)
    template = _template(header, server.address, key, found)
    progress(1.0, "ready")
    notes = [*launch.notes, *own_server.notes(server), *_warnings(launch, start)]
    engine = f"{server.name} of your own, build {found.get('build_info') or 'unknown'}"
    can_save = "--slot-save-path" in server.known
    info = engine_info(
        request, launch, header.quant, server.address, key, found, engine, notes, None, template.traits, can_save
    )
    return EndpointBackend(info, server.close, template)


def _warnings(launch: Launch, start: int) -> list[str]:
    """What the engine turned off by itself; of speculation only where it was asked for."""
    found = log_warnings.warnings_since(start)
    return [one for one in found if launch.speculation != "off" or "speculative" not in one]


def missing_instructions() -> tuple[str, ...]:
    """What this processor lacks for the prebuilt engine; empty where that cannot be known."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return ()
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ()
    flags = next((line.split(":", 1)[1].split() for line in text.splitlines() if line.startswith("flags")), [])
    return tuple(name for name in ("avx2", "fma", "f16c") if flags and name not in flags)
