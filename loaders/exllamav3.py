"""ExLlamaV3: EXL3 files and unquantised folders on NVIDIA cards, several replies at once. What it does: exllama/."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from loaders.base import EngineBackend, Feature, LoaderSpec, LoadParam, LoadRequest
from loaders.llama_cpp import choose_context
from modules.estimates.exllama import STEPS, estimate_exllama
from modules.sampling.params import EXL3, dialect
from modules.types import EngineInfo

_CACHE = ("fp16", "q8", "q7", "q6", "q5", "q4", "q3", "q2")

SPEC = LoaderSpec(
    name="exllamav3",
    title="ExLlamaV3 (EXL3 models, on NVIDIA graphics cards)",
    rank=30,
    formats=("exl3", "safetensors"),
    params=(
        LoadParam("context", "int", 0, "Context length",
                  "Tokens of prompt and reply, shared by replies that run at the same time. 0 = what the model was "
                  "made for, at most 8192.", 0, 2**22, 256),
        LoadParam("parallel", "int", 4, "Parallel requests", "Replies that run at the same time.", 1, 256, 1),
        LoadParam("cache_type_k", "choice", "fp16", "KV cache type, keys", "Smaller types save memory.",
                  choices=_CACHE),
        LoadParam("cache_type_v", "choice", "fp16", "KV cache type, values",
                  "Smaller types save memory; fp16 only together with fp16.", choices=_CACHE),
        LoadParam("chunk_size", "int", 2048, "Batch size",
                  "Prompt tokens between two looks at the outside: smaller lets other replies go on sooner.",
                  256, 16384, 256),
        LoadParam("cpu_cache_gib", "float", 0.0, "Prompt cache in main memory",
                  "GiB for computed prompts that no longer fit on the card. 0 = none.", 0, 1024),
        LoadParam("vision", "bool", True, "Images", "Load the part for images where the model has one."),
        LoadParam("gpu_split", "text", "", "GPU split",
                  "Gigabytes to use on each card, as 20,24. Empty = card after card as they fill up.",
                  group="Graphics cards"),
        LoadParam("gpu_reserve", "text", "", "GPU reserve", "Gigabytes to leave free on each card, as 1,0.5.",
                  group="Graphics cards"),
        LoadParam("tensor_parallel", "bool", False, "Tensor parallel", "All cards compute each layer together.",
                  group="Graphics cards"),
        LoadParam("tp_backend", "choice", "native", "Tensor parallel backend", "How the cards talk to each other.",
                  choices=("native", "nccl"), group="Graphics cards"),
        LoadParam("cpu_experts", "int", 0, "Experts on the processor",
                  "Layers of a mixture of experts whose experts stay in main memory. 0 = none.", 0, 1000, 1,
                  group="Graphics cards"),
        LoadParam("draft_model", "files", "", "Draft model", "A small model that guesses ahead; the text is the same.",
                  files="model", group="Guessing ahead"),
        LoadParam("mtp", "bool", False, "Multi-token prediction", "Guess ahead with the model's own layers for it.",
                  group="Guessing ahead"),
        LoadParam("ngram", "int", 0, "Guess from repeated text",
                  "Tokens that have to match before the rest is guessed. 0 = off.", 0, 32, 1, group="Guessing ahead"),
        LoadParam("draft_tokens", "int", 0, "Tokens ahead", "0 = the draft model's own choice.", 0, 64, 1,
                  group="Guessing ahead"),
        LoadParam("lora", "files", "", "LoRA adapters", "PEFT adapters for this model, as name or name=scale.",
                  files="adapter", group="Adapters"),
    ),
    samplers=dialect(EXL3),
    features=frozenset({
        Feature.PARALLEL, Feature.PROMPT_CACHE, Feature.LOGPROBS, Feature.GRAMMAR, Feature.JSON_SCHEMA,
        Feature.CONTINUE, Feature.LORA, Feature.VISION, Feature.SPECULATION,
    }),
    load="loaders.exllamav3:load",
    needs="exllamav3",
    requirements="exllamav3",
    hardware=("cuda",),
    estimate=estimate_exllama,
    ladder=STEPS,
)  # fmt: skip


def load(request: LoadRequest, progress: Callable[[float, str], None]) -> EngineBackend:
    """Load a folder. Raises LoadFailed with its reason."""
    from loaders.exllama.backend import ExLlamaEngine
    from loaders.exllama.cuda_build import import_library
    from loaders.exllama.folder import read_folder
    from loaders.exllama.load_errors import told_as_failures
    from loaders.exllama.model_thread import ModelThread

    folder = read_folder(Path(request.path))
    wanted = request.settings["context"]
    context = choose_context(int(wanted) if isinstance(wanted, (int, float)) else 0, folder.trained)
    thread = ModelThread()
    thread.call(lambda: import_library("exllamav3", "ExLlamaV3", "exllamav3_ext", progress))
    from loaders.exllama.v3 import ExLlamaV3

    with told_as_failures("ExLlamaV3"):
        loaded = thread.call(lambda: ExLlamaV3(request, context.value, progress))
    thread.serve(loaded.generator)
    progress(1.0, "ready")
    without = set() if loaded.sees else {Feature.VISION}
    if not request.files.get("lora"):
        without.add(Feature.LORA)
    info = EngineInfo(
        request.model, SPEC.name, context=context.value, slots=int(str(request.settings["parallel"])),
        chat_template=bool(folder.template),
        details={
            "engine": f"ExLlamaV3 {version('exllamav3')}",
            "architecture": folder.architecture,
            "bits": folder.bits,
            "trained_context": folder.trained,
            "context_why": context.why,
            "cache_type_k": request.settings["cache_type_k"],
            "cache_type_v": request.settings["cache_type_v"],
        },
        adapters={file.name: file.scale for file in request.files.get("lora", ())},
        features=tuple(sorted(feature.value for feature in SPEC.features - without)),
    )  # fmt: skip
    return ExLlamaEngine(info, folder, loaded, thread)
