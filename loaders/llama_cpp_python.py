"""llama.cpp through llama-cpp-python: for people who build it with their own flags. What it does: llama_python/.

The package is used through its C interface: its class `Llama` tells nothing while it loads, cannot be stopped in a
prompt, and leaves order and neutral values of the samplers to itself. It computes one reply at a time; the loader
llama.cpp computes several.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from loaders.base import EngineBackend, Feature, LoaderSpec, LoadParam, LoadRequest
from loaders.llama.fallback_steps import LADDER
from loaders.llama_cpp import DEFAULT_CONTEXT, choose_context
from modules.errors import LoadFailed
from modules.estimates.gguf import estimate_gguf
from modules.estimates.values import Estimate, Settings
from modules.formats.facts import ModelFacts
from modules.formats.gguf import read_header
from modules.hardware.values import Hardware
from modules.sampling.params import LLAMA_PYTHON, dialect
from modules.types import EngineInfo

_KV_TYPES = ("f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "f32")


def _estimate(facts: ModelFacts, settings: Settings, hardware: Hardware) -> Estimate:
    """As for llama.cpp. Here -1 layers are all of them, and a window is kept whole so that prompts can be reused."""
    layers = settings["gpu_layers"]
    made = estimate_gguf(
        facts, {**settings, "gpu_layers": 1000 if layers == -1 else layers, "swa_full": True}, hardware
    )
    return replace(made, partial=(*made.partial, _NO_CARD)) if layers and hardware.devices else made


_NO_CARD = "A build without support for the graphics card keeps everything in main memory."

SPEC = LoaderSpec(
    name="llama-cpp-python",
    title="llama-cpp-python (GGUF models, built with your own flags; one reply at a time)",
    rank=10,
    formats=("gguf",),
    params=(
        LoadParam("context", "int", 0, "Context length",
                  f"Tokens of prompt and reply together. 0 = what the model was made for, at most {DEFAULT_CONTEXT}.",
                  0, 2**22, 256),
        LoadParam("gpu_layers", "int", -1, "GPU layers",
                  "Layers on the graphics card, in a build that has one. -1 = all, 0 = none.", -1, 1000, 1),
        LoadParam("threads", "int", 0, "Threads", "Processor threads for a reply. 0 = the engine's choice.", 0, 512, 1),
        LoadParam("threads_batch", "int", 0, "Threads for prompts", "0 = the same as for a reply.", 0, 512, 1),
        LoadParam("batch_size", "int", 512, "Batch size",
                  "Prompt tokens between two looks at the outside: smaller shows progress more often.", 32, 8192, 32),
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
        LoadParam("numa", "choice", "off", "NUMA", "How threads and memory are spread over several processors.",
                  choices=("off", "distribute", "isolate", "numactl", "mirror")),
        LoadParam("lora", "files", "", "LoRA adapters", "GGUF adapters for this model, as name or name=scale.",
                  files="adapter", group="Adapters"),
        LoadParam("mmproj", "files", "", "Image part", "The file that lets this model see (mmproj…gguf).",
                  files="mmproj"),
        LoadParam("embeddings", "bool", False, "Embeddings",
                  "Also make embeddings; they get a context of their own, as large as the other."),
        LoadParam("split_mode", "choice", "layer", "Split", "How a model is divided over several graphics cards.",
                  choices=("none", "layer", "row"), group="Graphics cards"),
        LoadParam("main_gpu", "int", 0, "Main card", "The card that is used alone when nothing is split.", 0, 63, 1,
                  group="Graphics cards"),
        LoadParam("tensor_split", "text", "", "Tensor split", "Shares of the cards, as 3,1. Empty = by their memory.",
                  group="Graphics cards"),
        LoadParam("kv_offload", "bool", True, "KV cache on the card", "Off keeps keys and values in main memory.",
                  group="Graphics cards"),
        LoadParam("rope_scaling", "choice", "model", "RoPE scaling", "model = as the file says.",
                  choices=("model", "none", "linear", "yarn", "longrope"), group="Position"),
        LoadParam("rope_freq_base", "float", 0.0, "RoPE base", "0 = as the file says.", 0, 1e9, group="Position"),
        LoadParam("rope_freq_scale", "float", 0.0, "RoPE scale", "0 = as the file says.", 0, 1000, group="Position"),
        LoadParam("yarn_orig_ctx", "int", 0, "YaRN original context", "0 = as the file says.", 0, 2**22,
                  group="Position"),
    ),
    samplers=dialect(LLAMA_PYTHON),
    features=frozenset({
        Feature.PROMPT_CACHE, Feature.LOGPROBS, Feature.GRAMMAR, Feature.JSON_SCHEMA, Feature.CONTINUE, Feature.LORA,
        Feature.EMBEDDINGS, Feature.VISION,
    }),
    load="loaders.llama_cpp_python:load",
    needs="llama_cpp",
    requirements="llama-cpp-python",
    estimate=_estimate,
    ladder=LADDER,
)  # fmt: skip

INSTALL = "python3 start.py install llama-cpp-python"


def load(request: LoadRequest, progress: Callable[[float, str], None]) -> EngineBackend:
    """Load a GGUF file. Raises LoadFailed with the engine's own reason."""
    progress(0.01, "reading the model's header")
    header = read_header(Path(request.path))
    progress(0.02, "starting llama-cpp-python")
    try:
        import llama_cpp
    except ImportError as error:
        missing = error.name == "llama_cpp"
        said = "is not installed" if missing else f"cannot be loaded: {error}"
        raise LoadFailed(f"llama-cpp-python {said}.", hint=f"Install it: {INSTALL}") from error
    except (RuntimeError, OSError) as error:  # its library, or one it was linked with
        raise LoadFailed(f"llama-cpp-python cannot be loaded: {error}",
                         hint=f"Build it again on this machine: {INSTALL}") from error  # fmt: skip
    from loaders.llama_python.backend import LlamaPythonEngine
    from loaders.llama_python.images import ImagePart
    from loaders.llama_python.model import LlamaModel, check_interface
    from loaders.llama_python.vocabulary import Vocabulary

    check_interface()
    wanted = request.settings["context"]
    context = choose_context(int(wanted) if isinstance(wanted, (int, float)) else 0, header.context_length)
    loaded = LlamaModel(request, context.value, progress)
    progress(0.96, "reading the vocabulary")
    vocabulary = Vocabulary(loaded.model)
    batch, threads = (int(str(request.settings[name])) for name in ("batch_size", "threads"))
    images, parts = None, request.files.get("mmproj", ())
    if len(parts) > 1:
        raise LoadFailed("A model has one image part, and several are named.")
    if parts:
        progress(0.97, "loading the image part")
        images = ImagePart(loaded, vocabulary, parts[0], batch, threads)
    template = bool(loaded.metadata("tokenizer.chat_template"))
    adapters = {file.name: file.scale for file in request.files.get("lora", ())}
    info = EngineInfo(
        request.model, SPEC.name, context=min(loaded.context_size, context.value), slots=1, chat_template=template,
        details=_details(request, header, context.why, llama_cpp), adapters=adapters,
        features=tuple(sorted(feature.value for feature in _features(request, loaded.generates))),
    )  # fmt: skip
    engine = LlamaPythonEngine(info, loaded, vocabulary, images, batch)
    progress(1.0, "ready")
    return engine


def _features(request: LoadRequest, generates: bool) -> frozenset[Feature]:
    """What this load offers: embeddings where they were asked for, adapters where there are some."""
    if not generates:
        return frozenset({Feature.EMBEDDINGS})
    without = set() if request.settings["embeddings"] else {Feature.EMBEDDINGS}
    if not request.files.get("lora"):
        without.add(Feature.LORA)
    if not request.files.get("mmproj"):
        without.add(Feature.VISION)
    return SPEC.features - without


def _details(request: LoadRequest, header: Any, why: str, llama_cpp: Any) -> dict[str, Any]:
    settings = request.settings
    return {
        "engine": f"llama-cpp-python {llama_cpp.__version__}",
        "architecture": header.architecture,
        "quantisation": header.quant,
        "trained_context": header.context_length,
        "context_why": why,
        "gpu": bool(llama_cpp.llama_supports_gpu_offload()),
        "threads": settings["threads"] or "the engine's choice",
        "cache_type_k": settings["cache_type_k"],
        "cache_type_v": settings["cache_type_v"],
        "queue": "one reply at a time; others wait",
    }
