"""What is known of a GGUF model from its headers: one per part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modules.formats.facts import ModelFacts
from modules.formats.gguf import GgufHeader, MetaValue, megabytes
from modules.formats.gguf_tables import (
    EMBEDDING_ARCHITECTURES,
    IMAGE_ARCHITECTURES,
    POOLINGS,
    SPEECH_ARCHITECTURES,
    STATE_ARCHITECTURES,
    WINDOW_PATTERNS,
)
from modules.formats.language_codes import language_codes
from modules.formats.problems import GOES_WITH_A_MODEL, Problem, Reason, named_parts
from modules.formats.template_traits import template_traits
from modules.formats.weights import merged

Extra = dict[str, int | float | str | bool | tuple[int | float | bool, ...]]
_PER_HEADER = {
    "expert_count": "experts", "expert_used_count": "experts_used", "expert_shared_count": "shared_experts",
    "feed_forward_length": "feed_forward", "expert_feed_forward_length": "expert_feed_forward",
    "attention.key_length": "key_length", "attention.value_length": "value_length",
    "attention.key_length_swa": "key_length_window", "attention.value_length_swa": "value_length_window",
    "attention.kv_lora_rank": "kv_lora_rank", "rope.dimension_count": "rope_dim", "rope.freq_base": "rope_base",
    "nextn_predict_layers": "nextn_layers", "ssm.conv_kernel": "conv_kernel", "ssm.state_size": "state_size",
    "ssm.inner_size": "inner_size", "ssm.group_count": "state_groups", "ssm.time_step_rank": "state_heads",
    "shortconv.l_cache": "conv_kernel", "wkv.head_size": "state_size",
    "attention.shared_kv_layers": "shared_kv_layers",
}  # fmt: skip
_KINDS: Mapping[str, Reason] = {
    **GOES_WITH_A_MODEL,
    "imatrix": Reason.IMATRIX,
    "image": Reason.PICTURES,
    "speech": Reason.SPEECH,
    "classifier": Reason.CLASSIFIER,
}


def gguf_facts(headers: Sequence[GgufHeader], missing: Sequence[int] = ()) -> ModelFacts:
    """Facts of a model from the headers of its parts, in order. `missing`: numbers, from 1, of parts not there."""
    first = headers[0]
    numbers = _Numbers(first)
    groups = merged(header.groups for header in headers)
    weights = [header.weights for header in headers]
    parameters = [header.parameters for header in headers if header.parameters]
    kind = _kind(first, numbers, groups.labels)
    layers = numbers.layers
    kv_layers, window_layers, recurrent = numbers.split_layers()
    problem = Problem.of(_KINDS[kind]) if kind in _KINDS else _problem(first, len(headers), missing)
    extra: Extra = {**numbers.extra(), **groups.extra(), "version": first.version}
    for header in headers:
        for name, size in header.types.items():
            extra[f"bytes_{name}"] = int(extra.get(f"bytes_{name}", 0)) + size  # type: ignore[arg-type]
    if recurrent:
        extra["recurrent_layers"] = recurrent
    if first.tokenizer:
        extra["tokenizer"] = f"{first.tokenizer} {first.metadata.get('tokenizer.ggml.pre', '')}".strip()[:100]
    if groups.widths:
        extra["widths"] = tuple(sorted(groups.widths | numbers.widths()))
    return ModelFacts(
        format="gguf", kind=kind, arch=first.architecture, name=first.name, quant=first.quant,
        size=sum(header.size for header in headers),
        weights=sum(one for one in weights if one) if None not in weights and not missing else None,
        parameters=sum(parameters) if parameters and not missing else None,
        context_length=first.context_length, layers=layers, hidden=first.embedding_length, heads=first.head_count,
        kv_heads=first.head_count_kv or first.head_count, head_dim=numbers.head_dim, vocabulary=first.vocabulary,
        kv_layers=kv_layers, window=numbers.window if window_layers else None, window_layers=window_layers,
        capabilities=_capabilities(first, kind), languages=language_codes(first.languages), base=_base(first),
        problem=problem, extra=extra,
    )  # fmt: skip


class _Numbers:
    """The numbers of one header by their names without the architecture."""

    def __init__(self, header: GgufHeader) -> None:
        self._header = header
        self._arch = header.architecture
        self.meta: Mapping[str, MetaValue] = header.metadata

    def get(self, name: str) -> MetaValue | None:
        """A value of the architecture."""
        return self.meta.get(f"{self._arch}.{name}")

    def integer(self, name: str) -> int | None:
        """A whole number, the largest where it is a list."""
        value = self.get(name)
        if isinstance(value, tuple):
            value = max((one for one in value if isinstance(one, int)), default=None)
        return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None

    @property
    def layers(self) -> int | None:
        """Layers without those that only guess ahead."""
        count = self._header.block_count
        return count if count is None else max(0, count - (self.integer("nextn_predict_layers") or 0))

    @property
    def head_dim(self) -> int | None:
        """Numbers of one key."""
        if (stated := self.integer("attention.key_length")) is not None:
            return stated
        heads, hidden = self._header.head_count, self._header.embedding_length
        return hidden // heads if heads and hidden else None

    @property
    def window(self) -> int | None:
        """Tokens of the sliding window; None without."""
        return self.integer("attention.sliding_window") or (8192 if self._arch == "llama4" else None)

    def split_layers(self) -> tuple[int | None, int, int]:
        """Layers that keep the whole context, only the window, only a state."""
        layers = self.layers
        if layers is None or layers > 10_000:
            return None, 0, 0
        attends = self._attends(layers)
        slides = self._slides(layers) if self.window else [False] * layers
        shared = min(self.integer("attention.shared_kv_layers") or 0, layers)  # the last ones use an earlier layer's
        own = layers - shared
        full = sum(attends[at] and not slides[at] for at in range(own))
        window = sum(attends[at] and slides[at] for at in range(own))
        both = self._arch == "falcon-h1"
        return full, window, layers if both else sum(not one for one in attends)

    def _attends(self, layers: int) -> list[bool]:
        """For each layer, whether it keeps keys and values."""
        if self._arch in STATE_ARCHITECTURES:
            return [False] * layers
        per_layer = self.get("attention.head_count_kv")
        if isinstance(per_layer, tuple) and len(per_layer) >= layers:
            return [bool(one) for one in per_layer[:layers]]
        interval = self.integer("full_attention_interval")
        if interval is None and self._arch in ("qwen3next", "qwen35", "qwen35moe"):
            interval = 4
        if interval and interval > 1:
            return [at % interval == interval - 1 for at in range(layers)]
        return [True] * layers

    def _slides(self, layers: int) -> list[bool]:
        """For each layer, whether it keeps only a window."""
        pattern = self.get("attention.sliding_window_pattern")
        if isinstance(pattern, tuple):
            stated = [bool(one) for one in pattern[:layers]]
            return stated + [False] * (layers - len(stated))
        count, first = WINDOW_PATTERNS.get(self._arch, (0, False))
        if isinstance(pattern, int) and not isinstance(pattern, bool) and pattern > 0:
            count = pattern
        if not count:
            return [False] * layers
        return [at % count != (0 if first else count - 1) for at in range(layers)]

    def extra(self) -> Extra:
        """The further values an estimate needs."""
        found: Extra = {}
        for name, ours in _PER_HEADER.items():
            value = self.get(name)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                found[ours] = value
            elif isinstance(value, tuple) and value:
                found[ours] = max(value)
        per_layer = self.get("attention.head_count_kv")
        if isinstance(per_layer, tuple):
            found["kv_heads_by_layer"] = per_layer
        if self._arch == "llama4":
            found["chunk"] = True
        if pooling := POOLINGS.get(self.integer("pooling_type") or 0):
            found["pooling"] = pooling
        if self.head_dim is not None:
            found.setdefault("key_length", self.head_dim)
            found.setdefault("value_length", self.head_dim)
        if isinstance(projector := self.meta.get("clip.projector_type"), str):
            found["projector"] = projector[:64]
        return found

    def widths(self) -> frozenset[int]:
        """Hidden sizes of the models an image or sound part says it was made for."""
        names = ("clip.vision.projection_dim", "clip.audio.projection_dim")
        return frozenset(value for name in names if isinstance(value := self.meta.get(name), int))


def _kind(header: GgufHeader, numbers: _Numbers, labels: int) -> str:
    """What it is for. llama.cpp's converter writes no pooling type for BERT's rerankers, only their head (cls.*).

    labels  classes of that head
    """
    if header.kind in ("mmproj", "adapter", "control-vector", "imatrix"):
        return header.kind
    if header.architecture in IMAGE_ARCHITECTURES:
        return "image"
    if header.architecture in SPEECH_ARCHITECTURES:
        return "speech"
    if numbers.integer("pooling_type") == 4 or labels == 1:
        return "reranker"
    if labels and header.architecture in EMBEDDING_ARCHITECTURES:
        return "classifier"
    if header.architecture in EMBEDDING_ARCHITECTURES or numbers.integer("pooling_type"):
        return "embedding"
    return "model"


def _problem(header: GgufHeader, parts: int, missing: Sequence[int]) -> Problem | None:
    """Why a readable GGUF file is not a model that engines open; None when it is one."""
    if missing or header.split_count > parts:
        lacking = missing or range(parts + 1, header.split_count + 1)  # as many as the file says: never made a list
        return Problem.of(Reason.PARTS_MISSING, count=header.split_count, lacking=named_parts(lacking))
    if header.split_no:
        return Problem.of(Reason.PART_RENAMED, number=header.split_no + 1)
    if header.version == 1:
        return Problem.of(Reason.GGUF_VERSION_1)
    if header.big_endian:
        return Problem.of(Reason.BIG_ENDIAN)
    if not header.architecture or not header.tensor_count:
        return Problem.of(Reason.HEADER_ONLY, size=megabytes(header.size))
    return None


def _capabilities(header: GgufHeader, kind: str) -> tuple[str, ...]:
    if kind == "mmproj":
        sound = bool(header.metadata.get("clip.has_audio_encoder"))
        sight = bool(header.metadata.get("clip.has_vision_encoder")) or not sound
        return ("images",) * sight + ("audio",) * sound
    if kind in ("embedding", "reranker"):
        return ("embeddings",) if kind == "embedding" else ("rerank",)
    if kind != "model":
        return ()
    more = [
        text
        for key, text in header.metadata.items()
        if key.startswith("tokenizer.chat_template.") and isinstance(text, str)
    ]
    found = template_traits(header.chat_template, *more)
    return (*found, "fill in the middle") if header.fim else found


def _base(header: GgufHeader) -> str:
    for key in ("general.base_model.0.name", "controlvector.model_hint", "general.base_model.0.repo_url"):
        if isinstance(value := header.metadata.get(key), str) and value:
            return value[:200]
    return ""
