"""llama.cpp, through xllamacpp: its real server inside our worker, spoken to over loopback by the server process.

The binding is touched only here. It opens an HTTP port without a key and with CORS open to everyone unless told
otherwise, so both are set, and the port is a random one on loopback. Its constructor holds Python's lock until
the model is loaded: no progress can be sent from here meanwhile, the server process watches the worker's memory
grow instead.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import socket
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from loaders.base import Feature, LoaderSpec, LoadParam, LoadRequest
from modules.errors import EngineError, LoadFailed
from modules.formats.gguf import GgufHeader, read_header
from modules.params import LLAMA, dialect
from modules.types import Chosen, Chunk, Embeddings, Endpoint, EngineInfo, GenerationRequest, Message

DEFAULT_CONTEXT = 8192
SMALLEST_CONTEXT = 256
_KV_TYPES = ("f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "f32")

SPEC = LoaderSpec(
    name="llama.cpp",
    title="llama.cpp (GGUF models, on processor or graphics card)",
    formats=("gguf",),
    params=(
        LoadParam("context", "int", 0, "Context",
                  f"Tokens of prompt and reply together. 0 = what the model was made for, at most {DEFAULT_CONTEXT}.",
                  0, 2**22, 256),
        LoadParam("gpu_layers", "int", -1, "GPU layers", "Layers on the graphics card. -1 = as many as fit, 0 = none.",
                  -1, 1000, 1),
        LoadParam("parallel", "int", 4, "Parallel requests",
                  "Replies that run at the same time; they share the context, and one alone may use all of it.",
                  1, 64, 1),
        LoadParam("threads", "int", 0, "Threads", "Processor threads for a reply. 0 = one per core.", 0, 512, 1),
        LoadParam("batch_size", "int", 512, "Batch size",
                  "Prompt tokens between two looks at the outside: smaller shows progress and stops sooner.", 32, 8192,
                  32),
        LoadParam("ubatch_size", "int", 512, "Physical batch size", "Prompt tokens computed at once; costs memory.",
                  32, 8192, 32),
        LoadParam("cache_type_k", "choice", "f16", "KV cache type, keys", "Smaller types save memory.",
                  choices=_KV_TYPES),
        LoadParam("cache_type_v", "choice", "f16", "KV cache type, values",
                  "Smaller types save memory; other than f16, bf16 and f32 they need flash attention.",
                  choices=_KV_TYPES),
        LoadParam("flash_attention", "choice", "auto", "Flash attention", "auto = where the engine supports it.",
                  choices=("auto", "on", "off")),
        LoadParam("mmap", "bool", True, "Map the file", "Use the file's pages in place instead of copying them."),
        LoadParam("mlock", "bool", False, "Lock in memory", "Keep the system from swapping the model out."),
        LoadParam("prompt_cache_mib", "int", 1024, "Prompt cache",
                  "MiB of memory for the computed prompts of chats that are not in a slot now. 0 = none.",
                  0, 1_000_000, 256),
    ),
    samplers=dialect(LLAMA),
    features=frozenset({
        Feature.PARALLEL, Feature.PROMPT_CACHE, Feature.LOGPROBS, Feature.GRAMMAR, Feature.JSON_SCHEMA,
        Feature.CONTINUE,
    }),
    load="loaders.llama_cpp:load",
    needs="xllamacpp",
)  # fmt: skip


def choose_context(wanted: int, trained: int | None) -> Chosen[int]:
    """The context to load with, in tokens. `trained` is what the file says, None when it says nothing."""
    if wanted and trained and wanted > trained:
        return Chosen(trained, f"{wanted:,} tokens were asked for, but the model was trained for {trained:,}.")
    if wanted:
        return Chosen(max(wanted, SMALLEST_CONTEXT), "It was asked for.")
    if trained is None:
        return Chosen(DEFAULT_CONTEXT, "The file does not say what the model was trained for, so a usual value.")
    if trained <= DEFAULT_CONTEXT:
        return Chosen(trained, "It is what the model was trained for.")
    return Chosen(
        DEFAULT_CONTEXT,
        f"The model was trained for {trained:,} tokens; {DEFAULT_CONTEXT:,} keeps the memory small. "
        "Set context for more.",
    )


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


def free_port() -> int:
    """A port of loopback nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class LlamaCppServer:
    """Holds the server that runs in this process. It serves itself; the methods of a Python engine are not its."""

    def __init__(self, info: EngineInfo, server: Any) -> None:
        self.info = info
        self._server = server

    def generate(self, request: GenerationRequest, cancelled: Callable[[], bool]) -> Iterator[Chunk]:
        raise _elsewhere()

    def render(self, messages: tuple[Message, ...], variables: Mapping[str, Any], continue_last: bool) -> str:
        raise _elsewhere()

    def tokenize(self, text: str, special: bool) -> list[int]:
        raise _elsewhere()

    def detokenize(self, tokens: list[int]) -> str:
        raise _elsewhere()

    def embed(self, texts: list[str]) -> Embeddings:
        raise _elsewhere()

    def close(self) -> None:
        """Stop the server; the binding does so when its object goes."""
        self._server = None


def _elsewhere() -> EngineError:
    return EngineError("This engine is spoken to at its endpoint.")


def load(request: LoadRequest, progress: Callable[[float, str], None]) -> LlamaCppServer:
    """Load a GGUF file and serve it. Raises LoadFailed; for a failure inside the engine its log has the reason."""
    if lacking := missing_instructions():
        raise LoadFailed(
            f"This processor lacks instructions the engine was built for ({', '.join(lacking)}).",
            hint="Build the engine on this machine, or use another loader.",
        )
    progress(0.01, "reading the model's header")
    header = read_header(Path(request.path))
    progress(0.02, "starting llama.cpp")
    try:
        import xllamacpp
    except ImportError as error:
        raise LoadFailed(f"llama.cpp's binding cannot be loaded: {error}",
                         hint="Install it again: python3 start.py install.") from error  # fmt: skip
    context = choose_context(int(_number(request.settings["context"])), header.context_length)
    key = secrets.token_urlsafe(32)
    params = _params(xllamacpp, request, context.value, key)
    progress(0.03, "loading the model")
    server = xllamacpp.Server(params)
    real = _real_context(server.listening_address, key)
    if real != context.value:
        context = Chosen(real, f"{context.value:,} tokens were wanted, but the engine made it {real:,}.")
    progress(1.0, "ready")
    info = EngineInfo(
        model=request.model,
        loader=SPEC.name,
        context=context.value,
        slots=int(params.n_parallel),
        chat_template=bool(header.chat_template),
        endpoint=Endpoint(server.listening_address, key, LLAMA),
        details=_details(request, header, context, xllamacpp),
    )
    return LlamaCppServer(info, server)


def _params(xllamacpp: Any, request: LoadRequest, context: int, key: str) -> Any:
    """The settings in the binding's words."""
    settings = request.settings
    params = xllamacpp.CommonParams()
    params.model.path = request.path
    params.hostnames = ["127.0.0.1"]
    params.port = free_port()
    params.api_keys = [key]
    params.cors_origins = ""
    params.ui = False
    params.endpoint_slots = True  # behind the key; the driver asks which slot a request got
    params.prefill_assistant = False  # a reply is continued when it is asked for, not when it comes last
    params.n_ctx = context
    params.n_parallel = int(_number(settings["parallel"]))
    params.kv_unified = True  # else each slot gets only its share of the context
    params.n_gpu_layers = int(_number(settings["gpu_layers"]))
    params.n_batch = int(_number(settings["batch_size"]))
    params.n_ubatch = min(int(_number(settings["ubatch_size"])), params.n_batch)
    params.n_threads_http = params.n_parallel + 32  # a stream holds one, also while it waits; short calls need some
    if threads := int(_number(settings["threads"])):
        params.cpuparams.n_threads = threads
        params.cpuparams_batch.n_threads = threads
    types, flash, modes = xllamacpp.ggml_type, xllamacpp.llama_flash_attn_type, xllamacpp.llama_load_mode
    params.cache_type_k = getattr(types, f"GGML_TYPE_{str(settings['cache_type_k']).upper()}")
    params.cache_type_v = getattr(types, f"GGML_TYPE_{str(settings['cache_type_v']).upper()}")
    attention = {"auto": "AUTO", "on": "ENABLED", "off": "DISABLED"}[str(settings["flash_attention"])]
    params.flash_attn_type = getattr(flash, f"LLAMA_FLASH_ATTN_TYPE_{attention}")
    mode = {(True, False): "MMAP", (True, True): "MMAP_MLOCK", (False, True): "MLOCK", (False, False): "NONE"}
    params.load_mode = getattr(modes, f"LLAMA_LOAD_MODE_{mode[bool(settings['mmap']), bool(settings['mlock'])]}")
    params.cache_ram_mib = int(_number(settings["prompt_cache_mib"]))
    # The driver names the slot where it knows better (modules/engine/slots.py). In all other cases a slot whose prompt
    # is not nearly the same is saved, and the cache asked for a better one; without a cache the oldest slot is taken.
    params.slot_prompt_similarity = 0.9 if params.cache_ram_mib else 1.0
    return params


def _real_context(address: str, key: str) -> int:
    """Tokens one request may use, as the running engine says it: it may round, or shrink to what fits."""
    ask = urllib.request.Request(f"{address}/props", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(ask, timeout=10) as answer:
        return int(json.load(answer)["default_generation_settings"]["n_ctx"])


def _details(request: LoadRequest, header: GgufHeader, context: Chosen[int], xllamacpp: Any) -> dict[str, Any]:
    settings = request.settings
    return {
        "engine": f"llama.cpp in xllamacpp {xllamacpp.__version__}",
        "architecture": header.architecture,
        "quantisation": header.quant,
        "trained_context": header.context_length,
        "context_why": context.why,
        "threads": int(_number(settings["threads"])) or os.cpu_count(),
        "cache_type_k": settings["cache_type_k"],
        "cache_type_v": settings["cache_type_v"],
        "prompt_cache_mib": settings["prompt_cache_mib"],
    }


def _number(value: object) -> float:
    return value if isinstance(value, (int, float)) else 0
