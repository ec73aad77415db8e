"""ExLlamaV2: EXL2 and GPTQ files on NVIDIA cards. Archived by its maker; kept for the files people hold.

What it does: exllama/. Several replies at once take flash-attn; without it one follows the other, and that is said.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from loaders.base import EngineBackend, Feature, LoaderSpec, LoadParam, LoadRequest
from loaders.llama_cpp import choose_context
from modules.estimates.exllama import STEPS, estimate_exllama
from modules.sampling.params import EXL2, dialect
from modules.types import EngineInfo

SPEC = LoaderSpec(
    name="exllamav2",
    title="ExLlamaV2 (EXL2 and GPTQ models, on NVIDIA graphics cards; no longer developed)",
    rank=40,
    formats=("exl2", "gptq"),
    params=(
        LoadParam("context", "int", 0, "Context length",
                  "Tokens of prompt and reply, shared by replies that run at the same time. 0 = what the model was "
                  "made for, at most 8192.", 0, 2**22, 256),
        LoadParam("parallel", "int", 4, "Parallel requests",
                  "Replies that run at the same time; more than one takes flash-attn.", 1, 64, 1),
        LoadParam("cache_type", "choice", "fp16", "KV cache type", "Smaller types save memory.",
                  choices=("fp16", "q8", "q6", "q4")),
        LoadParam("chunk_size", "int", 2048, "Batch size",
                  "Prompt tokens between two looks at the outside: smaller lets other replies go on sooner.",
                  256, 16384, 256),
        LoadParam("vision", "bool", True, "Images", "Load the part for images where the model has one."),
        LoadParam("gpu_split", "text", "", "GPU split",
                  "Gigabytes of weights on each card, as 20,24. Empty = card after card as they fill up.",
                  group="Graphics cards"),
        LoadParam("gpu_reserve", "text", "", "GPU reserve",
                  "Gigabytes to leave free on each card, as 1,0.5; without a GPU split.", group="Graphics cards"),
        LoadParam("tensor_parallel", "bool", False, "Tensor parallel", "All cards compute each layer together.",
                  group="Graphics cards"),
        LoadParam("draft_model", "files", "", "Draft model", "A small model that guesses ahead; the text is the same.",
                  files="model", group="Guessing ahead"),
        LoadParam("ngram", "bool", False, "Guess from repeated text", "Guess that the prompt's words come again.",
                  group="Guessing ahead"),
        LoadParam("draft_tokens", "int", 4, "Tokens ahead", "How many are guessed.", 1, 8, 1, group="Guessing ahead"),
        LoadParam("lora", "files", "", "LoRA adapters", "PEFT adapters for this model, as name or name=scale.",
                  files="adapter", group="Adapters"),
        LoadParam("rope_scale", "float", 1.0, "RoPE scale", "Divides positions, for models made for it. 1 = off.",
                  0.1, 64, group="Position"),
        LoadParam("rope_alpha", "float", 1.0, "RoPE alpha", "NTK scaling for a longer context. 1 = off.", 0.1, 64,
                  group="Position"),
    ),
    samplers=dialect(EXL2),
    features=frozenset({
        Feature.PARALLEL, Feature.PROMPT_CACHE, Feature.LOGPROBS, Feature.GRAMMAR, Feature.JSON_SCHEMA,
        Feature.CONTINUE, Feature.LORA, Feature.VISION, Feature.SPECULATION,
    }),
    load="loaders.exllamav2:load",
    needs="exllamav2",
    requirements="exllamav2",
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
    thread.call(lambda: import_library("exllamav2", "ExLlamaV2", "exllamav2_ext", progress))
    from loaders.exllama.v2 import ExLlamaV2Library

    with told_as_failures("ExLlamaV2"):
        loaded = thread.call(lambda: ExLlamaV2Library(request, context.value, folder.ends, progress))
    thread.serve(loaded.generator)
    progress(1.0, "ready")
    without = set() if loaded.sees else {Feature.VISION}
    if not request.files.get("lora"):
        without.add(Feature.LORA)
    if not loaded.paged:
        without.add(Feature.PARALLEL)
    info = EngineInfo(
        request.model, SPEC.name, context=context.value, slots=loaded.slots, chat_template=bool(folder.template),
        details={
            "engine": f"ExLlamaV2 {version('exllamav2')}",
            "architecture": folder.architecture,
            "bits": folder.bits,
            "trained_context": folder.trained,
            "context_why": context.why,
            "cache_type": request.settings["cache_type"],
            "parallel_why": "as asked" if loaded.paged else "one at a time: more need flash-attn 2.5.7 or later",
        },
        adapters={file.name: file.scale for file in request.files.get("lora", ())},
        features=tuple(sorted(feature.value for feature in SPEC.features - without)),
    )  # fmt: skip
    return ExLlamaEngine(info, folder, loaded, thread)
