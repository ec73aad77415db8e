"""What a GGUF model takes under llama.cpp, on the processor, on graphics devices, or split between them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from modules.estimates import gguf_parts as parts
from modules.estimates.fit import amount, device_name, judged
from modules.estimates.values import Estimate, Settings, Share
from modules.formats.facts import ModelFacts
from modules.hardware.values import CUDA, METAL, Device, Hardware

DEFAULT_CONTEXT, VECTOR_CONTEXT = 8192, 2048
"""The most tokens the loader gives unasked: for text, for embeddings."""
KEPT_FREE = 1 << 30
"""Bytes llama.cpp leaves free on each device when it chooses the layers itself (its --fit-target)."""
_CARD_BYTES = {CUDA: 420 << 20, METAL: 40 << 20}
"""What a device's driver and kernels take once the engine runs on it; 300 MiB where it was not measured."""


@dataclass(frozen=True, slots=True)
class _Layers:
    """Bytes by layer: the blocks in order, then the output, and what always stays in main memory."""

    blocks: tuple[int, ...]
    output: int
    input: int


def estimate_gguf(facts: ModelFacts, settings: Settings, hardware: Hardware) -> Estimate:
    """Bytes per device. `settings` are complete."""
    settings, context = _in_use(facts, settings)
    shape = parts.shape_of(facts)
    partial = list(shape.guessed) if shape else ["The file says too little of its dimensions: only its weights count."]
    weights = facts.weights or facts.size
    if not facts.weights:
        partial.append("The weights are taken to be as large as the file.")
    extra = parts.integer(facts, "companion_bytes")
    kv = parts.kv_cache(facts, shape, settings, context) if shape else 0
    buffers = parts.compute(shape, settings, context) if shape else 0
    wanted = parts.number(settings, "gpu_layers", -1)
    devices = _used(hardware, settings)
    if not devices or wanted == 0 or not shape:
        if devices and not shape:
            partial.append("How the model would be split between devices is not known.")
        shares: tuple[Share, ...] = (_processor(facts, settings, hardware, weights + extra, kv, buffers, shape),)
        said = ""
    else:
        layers = _by_layer(facts, shape, weights)
        place = _Placing(facts, settings, hardware, layers, kv, buffers, shape, extra)
        count, shares = place.chosen(devices, wanted)
        said = _split_words(count, shape.layers, devices, wanted)
        partial.append("What a graphics device takes besides the model is a usual value.")
    verdict = judged(shares, hardware)
    return Estimate(shares, verdict.value, f"{said}{verdict.why}", tuple(partial + _grows(settings, shape)), lead=said)


def _in_use(facts: ModelFacts, settings: Settings) -> tuple[Settings, int]:
    """The settings as the loader uses them, and the context in tokens."""
    scale = settings.get("rope_scale", 0)
    stretch = float(scale) if isinstance(scale, (int, float)) and scale > 1 else 1.0
    trained = int((facts.context_length or 0) * stretch)
    mode = str(settings.get("mode", "auto"))
    vectors = mode in ("embeddings", "rerank") or (mode == "auto" and facts.kind in ("embedding", "reranker"))
    most = VECTOR_CONTEXT if vectors else trained if stretch > 1 else DEFAULT_CONTEXT
    wanted = parts.number(settings, "context", 0)
    context = min(wanted or most, trained or wanted or most)
    if vectors:  # a whole text is computed at once
        settings = {**settings, "batch_size": context, "ubatch_size": context, "prompt_cache_mib": 0}
    return settings, context


def _used(hardware: Hardware, settings: Settings) -> tuple[Device, ...]:
    """The devices the engine spreads layers over; integrated ones only where there is nothing else."""
    for kind in ("cuda", "rocm", "metal", "xpu", "vulkan"):
        if found := hardware.of_kind(kind):
            if settings.get("split_mode") == "none":
                main = parts.number(settings, "main_gpu", 0)
                return tuple(device for device in found if device.index == main) or found[:1]
            return found
    return ()


def _processor(
    facts: ModelFacts, settings: Settings, hardware: Hardware, weights: int, kv: int, buffers: int,
    shape: parts.Shape | None,
) -> Share:  # fmt: skip
    again = parts.repacked(facts, hardware.cpu_features, settings.get("mmap", True) is not False)
    return Share("cpu", weights + again, kv, buffers, parts.engine(shape))


def _by_layer(facts: ModelFacts, shape: parts.Shape, weights: int) -> _Layers:
    embedding, output = parts.integer(facts, "embedding_bytes"), parts.integer(facts, "output_bytes")
    stated = facts.extra.get("block_bytes")
    if isinstance(stated, tuple) and len(stated) >= shape.layers:
        blocks = tuple(int(one) for one in stated[: shape.layers])
    else:
        embedding = embedding or min(weights // 2, int(shape.vocabulary * shape.hidden * _bytes_each(facts)))
        rest = max(0, weights - embedding - output)
        blocks = (rest // shape.layers,) * shape.layers
    # One matrix may be input and output: it is then copied to the device and stays in main memory as well.
    return _Layers(blocks, output or embedding, embedding)


def _bytes_each(facts: ModelFacts) -> float:
    return (facts.weights or facts.size) / facts.parameters if facts.parameters else 2.0


@dataclass(frozen=True, slots=True)
class _Placing:
    """Puts layers on devices. The output counts as the last layer, as in llama.cpp."""

    facts: ModelFacts
    settings: Settings
    hardware: Hardware
    layers: _Layers
    kv: int
    buffers: int
    shape: parts.Shape
    extra: int

    def chosen(self, devices: Sequence[Device], wanted: int) -> tuple[int, tuple[Share, ...]]:
        """(layers on devices, shares). `wanted` -1 = as many as fit beside what is to stay free."""
        most = len(self.layers.blocks) + 1
        if wanted >= 0:
            return min(wanted, most), self.shares(devices, min(wanted, most))
        for count in range(most, 0, -1):
            shares = self.shares(devices, count)
            if all(_has_room(share, devices) for share in shares):
                return count, shares
        return 0, self.shares(devices, 0)

    def shares(self, devices: Sequence[Device], count: int) -> tuple[Share, ...]:
        """With the last `count` of the layers and the output on devices."""
        blocks = self.layers.blocks
        total = len(blocks)
        first = total + 1 - count
        each_kv = self.kv // max(1, total)
        off_card = self._experts_on_processor()
        on_card = [(size - off_card.get(at, 0), each_kv if self.settings.get("kv_offload", True) is not False else 0)
                   for at, size in enumerate(blocks) if at >= first]  # fmt: skip
        kept = sum(size for at, size in enumerate(blocks) if at < first)
        kept += sum(size for at, size in off_card.items() if at >= first)
        kept_kv = self.kv - sum(kv for _, kv in on_card)
        out: list[Share] = []
        for device, part in zip(devices, self._split(devices, len(on_card)), strict=True):
            mine = on_card[part[0] : part[1]]
            last = count > 0 and device is devices[-1]
            weights = sum(size for size, _ in mine) + (self.layers.output if last else 0) + (self.extra if last else 0)
            if weights:
                out.append(Share(device_name(device), weights, sum(kv for _, kv in mine), self.buffers,
                                 _CARD_BYTES.get(device.kind, 300 << 20)))  # fmt: skip
        held = self.layers.input + kept + (self.extra if count == 0 else 0)
        ratio = held / max(1, sum(blocks) + self.layers.input)
        mapped = self.settings.get("mmap", True) is not False
        again = int(parts.repacked(self.facts, self.hardware.cpu_features, mapped) * ratio) if kept else 0
        on_processor = self.buffers if kept or kept_kv else self.buffers // 4
        return (Share("cpu", held + again, kept_kv, on_processor, parts.engine(self.shape)), *out)

    def _experts_on_processor(self) -> dict[int, int]:
        """Bytes of experts that stay in main memory, by layer."""
        first = parts.number(self.settings, "cpu_moe", 0)
        stated = self.facts.extra.get("expert_bytes")
        if first == 0 or not isinstance(stated, tuple):
            return {}
        count = len(stated) if first < 0 else first
        return {at: int(size) for at, size in enumerate(stated[:count])}

    def _split(self, devices: Sequence[Device], count: int) -> list[tuple[int, int]]:
        """(from, to) of the layers of each device: by the setting, else by free memory."""
        weights = [device.free or device.total or 1 for device in devices]
        text = str(self.settings.get("tensor_split") or "")
        stated = [float(one) for one in text.split(",") if one.strip().replace(".", "", 1).isdecimal()]
        if stated and sum(stated) > 0:
            weights = [int(1000 * (stated[at] if at < len(stated) else 0)) for at in range(len(devices))]
        ends, done, total = [0], 0, max(1, sum(weights))
        for weight in weights:
            done += weight
            ends.append(round(count * done / total))
        return list(itertools.pairwise(ends))


def _has_room(share: Share, devices: Sequence[Device]) -> bool:
    device = next((one for one in devices if device_name(one) == share.device), None)
    return device is None or device.free is None or share.total <= device.free - KEPT_FREE


def _split_words(count: int, layers: int, devices: Sequence[Device], wanted: int) -> str:
    where = devices[0].name if len(devices) == 1 else f"{len(devices)} devices"
    if count > layers:
        return f"All {layers} layers go to {where}. "
    if count == 0 and wanted < 0:
        return f"No layer fits on {where}, so all stay in main memory. "
    if wanted < 0:
        return f"{count} of {layers} layers fit on {where}; the others stay in main memory. "
    return f"{count} of {layers} layers go to {where}, as set. "


def _grows(settings: Settings, shape: parts.Shape | None) -> list[str]:
    """What comes on top while the model is used."""
    most = parts.number(settings, "prompt_cache_mib", 0)
    said = []
    if most:
        said.append(f"The prompt cache may take up to {amount(most << 20)} more as chats change; it is not counted.")
    if settings.get("draft_model"):
        said.append("The KV cache of the draft model is not counted.")
    if settings.get("override_tensor"):
        said.append("The places of single tensors are not looked at.")
    return said
