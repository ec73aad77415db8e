"""What will be started: the settings with everything decided, each decision with its reason. Nothing is loaded here."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from loaders.base import LoadRequest, NamedFile
from loaders.llama.context import VECTOR_CONTEXT, choose_context, stretch_of
from loaders.llama.settings import DEFAULT_CONTEXT, NEEDS_DRAFT, SETTINGS
from modules.errors import LoadFailed
from modules.formats.gguf import GgufHeader
from modules.types import Decision, ParamValue

TEXT, EMBEDDINGS, RERANK = "text", "embeddings", "rerank"
_POOLING_RANK = 4  # llama.h, enum llama_pooling_type
_VECTOR_ARCHITECTURES = frozenset({
    "bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3", "eurobert",
    "gemma-embedding", "llama-embed", "t5encoder",
})  # fmt: skip
"""Architectures that cannot write text."""
_DRAFT = ("draft_max", "draft_min", "draft_p_min", "draft_gpu_layers", "draft_cache_type_k", "draft_cache_type_v")
_NOT_WITH_IMAGES = (
    ("context_shift", "The context is not shifted"),
    ("cache_reuse", "Moved parts of a prompt are computed again"),
)
_DEFAULTS: Mapping[str, ParamValue] = {param.name: param.default for param in SETTINGS}


@dataclass(frozen=True, slots=True)
class Launch:
    """One start of an engine.

    values       every setting, as it is used
    files        setting name → the files that are loaded
    mode         "text", "embeddings" or "rerank"
    speculation  a kind of llama.cpp's, or "off"
    slots        folder for saved prompts; "" when they cannot be saved
    notes        what was changed, or has no effect, as sentences
    """

    path: str
    values: Mapping[str, ParamValue]
    files: Mapping[str, tuple[NamedFile, ...]]
    context: Decision[int]
    mode: Decision[str]
    speculation: str
    slots: str
    architecture: str
    layers: int
    trained: int | None
    has_template: bool
    notes: tuple[str, ...] = ()

    def number(self, name: str) -> float:
        """A setting that is a number."""
        value = self.values[name]
        return value if isinstance(value, (int, float)) else 0

    def text(self, name: str) -> str:
        """A setting that is text or a choice."""
        return str(self.values[name])


def decide(request: LoadRequest, header: GgufHeader) -> Launch:
    """What to start. Raises LoadFailed for settings that exclude each other."""
    values = dict(request.settings)
    files = {name: found for name, found in request.files.items() if found}
    notes: list[str] = []
    mode = _mode(str(values["mode"]), header)
    speculation = _speculation(values, files, header, notes)
    _check(values, files)
    if mode.value != TEXT:
        speculation = _only_vectors(values, files, speculation, notes)
    most = DEFAULT_CONTEXT if mode.value == TEXT else VECTOR_CONTEXT
    wanted = values["context"] if isinstance(values["context"], int) else 0
    context = choose_context(wanted, header.context_length, most, stretch_of(values))
    if mode.value != TEXT:  # a text has to be computed at once, and there is nothing to keep of it
        values["batch_size"] = values["ubatch_size"] = context.value
        values["prompt_cache_mib"] = 0
    if files.get("lora") and values["prompt_cache_mib"]:
        values["prompt_cache_mib"] = 0
        notes.append("The prompt cache is off, because it does not tell which adapters a prompt was computed with.")
    if files.get("mmproj"):
        for name, label in _NOT_WITH_IMAGES:
            if values[name]:
                values[name] = _DEFAULTS[name]
                notes.append(f"{label}, because the model takes images.")
    notes += _without_effect(values, files, mode.value, speculation)
    keeps = mode.value == TEXT and not files.get("lora")
    slots = str(Path(request.scratch) / "slots" / _identity(request, context.value)) if keeps else ""
    return Launch(
        request.path, values, files, context, mode, speculation, slots, header.architecture, header.block_count or 1,
        header.context_length, bool(header.chat_template), tuple(notes),
    )  # fmt: skip


def _mode(wanted: str, header: GgufHeader) -> Decision[str]:
    if wanted != "auto":
        return Decision(wanted, "It was asked for.")
    pooling = header.metadata.get(f"{header.architecture}.pooling_type")
    if pooling == _POOLING_RANK:
        return Decision(RERANK, "The file says that the model ranks texts.")
    if isinstance(pooling, int) and pooling > 0:
        return Decision(EMBEDDINGS, "The file says how to make one vector of a text, so the model is for embeddings.")
    if header.architecture in _VECTOR_ARCHITECTURES:
        return Decision(EMBEDDINGS, f"Models of the kind {header.architecture} make embeddings and cannot write.")
    return Decision(TEXT, "The file says nothing else.")


def _speculation(
    values: Mapping[str, ParamValue], files: dict[str, tuple[NamedFile, ...]], header: GgufHeader, notes: list[str]
) -> str:
    """The kind to use; a draft model that goes with none of it is left out, and said."""
    wanted, draft = str(values["speculation"]), files.get("draft_model")
    if wanted == "auto":
        return "draft-simple" if draft else "off"
    if wanted in NEEDS_DRAFT and not draft:
        raise LoadFailed(f"The speculation {wanted} needs a draft model.", hint="Name one in draft_model.")
    layers = header.metadata.get(f"{header.architecture}.nextn_predict_layers")
    if wanted == "draft-mtp" and not draft and not layers:
        raise LoadFailed(
            "The speculation draft-mtp needs a model with layers for several tokens at once, and this one has none.",
            hint="Use a draft model or one of the ngram kinds.",
        )
    if draft and wanted not in NEEDS_DRAFT and wanted != "draft-mtp":
        del files["draft_model"]
        notes.append(f"The draft model is not loaded, because the speculation is {wanted}.")
    return wanted


def _check(values: Mapping[str, ParamValue], files: Mapping[str, tuple[NamedFile, ...]]) -> None:
    for name in ("draft_model", "mmproj"):
        if len(files.get(name, ())) > 1:
            raise LoadFailed(f"{name} names {len(files[name])} files, but it takes one.", hint="Name one of them.")
    names = [file.name for file in files.get("lora", ())]
    if len(set(names)) < len(names):
        raise LoadFailed("lora names the same adapter twice.", hint="Name each once.")
    if values["flash_attention"] == "off" and values["cache_type_v"] not in ("f16", "bf16", "f32"):
        raise LoadFailed(
            f"The KV cache type {values['cache_type_v']} for values needs flash attention, and that is off.",
            hint="Set flash_attention to auto, or cache_type_v to f16.",
        )
    for part in str(values["tensor_split"]).split(","):
        if part.strip() and not part.strip().replace(".", "", 1).isdecimal():
            raise LoadFailed(
                f"tensor_split has the part {part.strip()!r}, which is no number.", hint="Write it like 3,1."
            )


def _only_vectors(
    values: Mapping[str, ParamValue], files: dict[str, tuple[NamedFile, ...]], speculation: str, notes: list[str]
) -> str:
    """What has no place in a model that only makes vectors is left out, and said."""
    for name in ("mmproj", "draft_model"):
        if files.pop(name, None):
            notes.append(f"{name} is not loaded, because the model only makes vectors.")
    return "off"


def _without_effect(
    values: Mapping[str, ParamValue], files: Mapping[str, tuple[NamedFile, ...]], mode: str, speculation: str
) -> list[str]:
    """Settings that were changed and that nothing looks at."""
    idle: list[str] = []
    if not files.get("draft_model") and speculation != "draft-mtp":
        idle += _DRAFT
    if speculation not in ("ngram-simple", "ngram-map-k", "ngram-map-k4v", "ngram-mod"):
        idle += ("ngram_match", "ngram_draft")
    if not files.get("mmproj"):
        idle += ("image_min_tokens", "image_max_tokens")
    if not files.get("control_vectors"):
        idle += ("control_vector_start", "control_vector_end")
    if mode != EMBEDDINGS:
        idle.append("pooling")
    if mode != TEXT:
        idle += ("context_shift", "cache_reuse", "speculation")
    return no_effect([name for name in idle if values[name] != _DEFAULTS[name]], "with the other settings as they are")


def without_card(values: Mapping[str, ParamValue]) -> list[str]:
    """Settings that were changed and that are about a graphics card, for an engine that has none."""
    about = "tensor_split", "main_gpu", "split_mode", "kv_offload", "op_offload", "mmproj_offload", "cpu_moe"
    changed = [name for name in about if values[name] != _DEFAULTS[name]]
    changed += [name for name in ("gpu_layers", "draft_gpu_layers") if values[name] not in (-1, 0)]
    return no_effect(changed, "because this engine uses no graphics card")


def no_effect(names: list[str], why: str) -> list[str]:
    """One sentence about settings that do nothing; none for none."""
    if not names:
        return []
    return [f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} no effect {why}."]


def _identity(request: LoadRequest, context: int) -> str:
    """A name for this model in this form: a prompt computed by another must not be taken for one of its own."""
    found = os.stat(request.path)
    settings = sorted((name, str(request.settings[name])) for name in _KEEPS_APART)
    files = sorted((name, file.path, file.scale) for name, all in request.files.items() for file in all)
    said = repr((os.path.abspath(request.path), found.st_size, found.st_mtime_ns, settings, files, context))
    return hashlib.sha256(said.encode()).hexdigest()[:24]


_KEEPS_APART = (
    "cache_type_k", "cache_type_v", "flash_attention", "swa_full", "rope_scaling", "rope_scale", "rope_freq_base",
    "yarn_orig_ctx", "yarn_ext_factor", "yarn_attn_factor", "yarn_beta_fast", "yarn_beta_slow", "control_vector_start",
    "control_vector_end",
)  # fmt: skip
"""Settings under which the same prompt is computed to something else, or is kept in another form."""
