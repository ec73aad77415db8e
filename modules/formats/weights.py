"""Sums up a model's tensors one by one: bytes per block and outside, for estimates, without keeping the tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

MAX_BLOCKS = 4096
MAX_WIDTHS = 64
# GGUF says blk.3.; Hugging Face models.layers.3., h.3., encoder.layer.3., blocks.3.
_BLOCK = re.compile(r"(?:^|\.)(?:blk|layers?|h|blocks?)\.(\d{1,5})\.")
_TOWER = re.compile(
    r"^(?:v|a|mm)\.|(?:^|\.)(?:vision\w*|visual|audio\w*|image\w*|mm_\w+|multi_modal\w*|embed_(?:vision|audio))\."
)
_EMBEDDING = re.compile(
    r"(?:^|\.)(?:token_embd|embed_tokens|wte|word_embeddings|tok_embeddings|embed_in|embeddings)\.weight$"
)
_OUTPUT = re.compile(r"(?:^|\.)(?:output|lm_head|embed_out)\.(?:weight|qweight|q_weight|trellis|weight_packed)$")
_READS_HIDDEN = re.compile(r"(?:attn_(?:q|k|v|qkv)|[qkv]_proj|qkv_proj|query_key_value|c_attn)\b.*lora_[aA]")
_EXPERTS = re.compile(r"\.experts\.|_exps\.")


@dataclass(frozen=True, slots=True)
class Groups:
    """Bytes of a model's weights by where they stand. `blocks` and `experts` are by block number.

    towers   image and sound parts
    labels   classes of the head that sorts or ranks, 0 without one (GGUF: cls.*)
    other    what is outside the blocks and nothing of the rest
    widths   sides of the tensors that touch the model's hidden state, in companions
    """

    blocks: Mapping[int, int] = field(default_factory=dict)
    experts: Mapping[int, int] = field(default_factory=dict)
    embedding: int = 0
    output: int = 0
    towers: int = 0
    other: int = 0
    widths: frozenset[int] = frozenset()
    labels: int = 0

    @property
    def total(self) -> int:
        """Bytes of all weights."""
        return sum(self.blocks.values()) + self.embedding + self.output + self.towers + self.other

    def extra(self) -> dict[str, int | tuple[int, ...]]:
        """The values of ModelFacts.extra that come from here."""
        found: dict[str, int | tuple[int, ...]] = {
            "embedding_bytes": self.embedding, "output_bytes": self.output, "other_bytes": self.other,
        }  # fmt: skip
        if self.blocks:
            count = max(self.blocks) + 1
            found["block_bytes"] = tuple(self.blocks.get(number, 0) for number in range(count))
            if self.experts:
                found["expert_bytes"] = tuple(self.experts.get(number, 0) for number in range(count))
        if self.towers:
            found["tower_bytes"] = self.towers
        return found


def merged(groups: Iterable[Groups]) -> Groups:
    """The sums of several files of one model."""
    parts = tuple(groups)
    blocks: dict[int, int] = {}
    experts: dict[int, int] = {}
    sums = [0, 0, 0, 0]
    widths: set[int] = set()
    for one in parts:
        for number, size in one.blocks.items():
            blocks[number] = blocks.get(number, 0) + size
        for number, size in one.experts.items():
            experts[number] = experts.get(number, 0) + size
        for at, size in enumerate((one.embedding, one.output, one.towers, one.other)):
            sums[at] += size
        widths |= one.widths
    labels = max((one.labels for one in parts), default=0)
    return Groups(blocks, experts, sums[0], sums[1], sums[2], sums[3], frozenset(widths), labels)


class Tally:
    """Takes tensors and gives Groups. Bounded whatever it is fed."""

    def __init__(self) -> None:
        self._blocks: dict[int, int] = {}
        self._experts: dict[int, int] = {}
        self._embedding = self._output = self._towers = self._other = 0
        self._widths: set[int] = set()
        self._sure: set[int] = set()
        self._labels = 0

    def add(self, name: str, size: int, shape: tuple[int, ...]) -> None:
        """One tensor of `size` bytes."""
        if name.startswith("cls."):
            self._labels = max(self._labels, shape[-1] if name == "cls.output.weight" and len(shape) > 1 else 1)
        if _TOWER.search(name):
            self._towers += size
            if name.startswith("mm.") and len(self._widths) < MAX_WIDTHS:
                self._widths.update(shape)
            return
        if match := _BLOCK.search(name):
            number = int(match[1])
            if number < MAX_BLOCKS:
                self._blocks[number] = self._blocks.get(number, 0) + size
                if _EXPERTS.search(name):
                    self._experts[number] = self._experts.get(number, 0) + size
            else:
                self._other += size
            if "lora_" in name and len(self._widths) < MAX_WIDTHS:
                self._widths.update(shape)
                if _READS_HIDDEN.search(name):
                    self._sure.update(shape)
        elif _EMBEDDING.search(name):
            self._embedding += size
        elif _OUTPUT.search(name):
            self._output += size
        else:
            self._other += size
            if name.startswith("direction.") and len(self._widths) < MAX_WIDTHS:
                self._widths.update(shape)

    def groups(self) -> Groups:
        """The sums so far."""
        return Groups(
            self._blocks,
            self._experts,
            self._embedding,
            self._output,
            self._towers,
            self._other,
            frozenset(self._sure or self._widths),
            self._labels,
        )
