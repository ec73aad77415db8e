"""A folder in the layout of Hugging Face: config.json, weights, tokenizer. What it is, and what it lacks."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modules.formats.adapter import CONFIG as ADAPTER_CONFIG
from modules.formats.adapter import adapter_facts
from modules.formats.bad_file import START, bad_file
from modules.formats.facts import ModelFacts
from modules.formats.folder_kind import folder_capabilities, folder_kind
from modules.formats.foreign import ctranslate2_spec
from modules.formats.hf_config import Extra, HfConfig
from modules.formats.loose_safetensors import all_marks, read_all
from modules.formats.model_card import ModelCard, read_card
from modules.formats.pickle_weights import is_pickle
from modules.formats.pipeline_folder import is_pipeline
from modules.formats.plain_json import BYTE_ORDER_MARKS, JsonError, read_json, text_of
from modules.formats.problems import Problem, Reason
from modules.formats.quantization import parameters, quantization
from modules.formats.safetensors import SafetensorsError, SafetensorsHeader
from modules.formats.weights import Groups, merged

PICKLES = (".bin", ".pt", ".pth", ".ckpt")
NO_WEIGHTS_OF_PICKLES = re.compile(
    r"(?:training_args|optimizer|scheduler|rng_state|scaler|random_states)", re.IGNORECASE
)
READ_FILES = (
    "config.json", ADAPTER_CONFIG, "model.safetensors.index.json", "pytorch_model.bin.index.json", "model_index.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "chat_template.json",
    "README.md", "modules.json", "config_sentence_transformers.json", "quantize_config.json", "quant_config.json",
    "hf_quant_config.json", "tokenizer.json", "tokenizer.model",
)  # fmt: skip
"""Files besides the weights that decide what a folder is: when one changes, it is looked at again."""
_SHARD = re.compile(rb'"([^"/\\]{1,200}\.(?:safetensors|bin))"')
INDEX, PICKLE_INDEX = "model.safetensors.index.json", "pytorch_model.bin.index.json"
_NUMBERED = re.compile(
    r"(?P<stem>model|pytorch_model)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<ending>\.(?:safetensors|bin))"
)
_READ_BY_ENGINES = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                    "added_tokens.json", "generation_config.json", INDEX)  # fmt: skip
_INDEX_MOST = 64 * 1024 * 1024
_PIECE = 1024 * 1024
_MOST_FILES = 2000


def folder_facts(folder: Path) -> ModelFacts:
    """What the folder holds. Raises OSError only when it cannot be listed."""
    with os.scandir(folder) as entries:  # a pipe or a device would be waited for when it is opened
        found = (entry for _, entry in zip(range(_MOST_FILES), entries, strict=False))
        names = sorted(entry.name for entry in found if entry.is_file() or entry.is_dir())
    weights = [folder / name for name in names if name.endswith(".safetensors") and not name.startswith(".")]
    pickles = [folder / name for name in names if name.endswith(PICKLES) and not NO_WEIGHTS_OF_PICKLES.match(name)]
    if ADAPTER_CONFIG in names:
        own = [path for path in weights if path.name.startswith("adapter_")] or weights
        return adapter_facts(folder, own, pickles)
    if "model_index.json" in names and not (weights and "config.json" in names) and is_pipeline(folder):
        return ModelFacts("safetensors", "image", size=_sizes(weights), problem=Problem.of(Reason.PICTURES))
    if any(name.endswith((".engine", ".plan")) for name in names):
        return _tensorrt(folder, names)
    try:
        config = HfConfig.of(read_json(folder / "config.json"))
    except JsonError as error:
        extra = {"unreadable": True} if error.unreadable else {}
        return ModelFacts("safetensors", size=_sizes(weights), problem=error.problem, extra=extra)
    return _Folder(folder, names, config, weights, pickles).facts()


class _Folder:
    """One folder with a config.json."""

    def __init__(
        self, folder: Path, names: Sequence[str], config: HfConfig, weights: Sequence[Path], pickles: Sequence[Path]
    ) -> None:
        self.folder = folder
        self.names = names
        self.config = config
        self.pickles = pickles
        self.listed = self._listed()
        self.weights = self._chosen(weights)
        self.card = read_card(folder / "README.md") if "README.md" in names else ModelCard()

    def _listed(self) -> frozenset[str]:
        """Names of the parts an index file names, or without one those that the names of the parts say there are."""
        for name in (INDEX, PICKLE_INDEX):
            if name in self.names and (self.folder / name).is_file():
                return index_parts(self.folder / name)
        found: set[str] = set()
        for name in self.names:
            if match := _NUMBERED.fullmatch(name):
                count = min(int(match["count"]), _MOST_FILES)
                found |= {f"{match['stem']}-{at:05}-of-{match['count']}{match['ending']}" for at in range(1, count + 1)}
        return frozenset(found) if len(found) <= _MOST_FILES else frozenset()

    def _chosen(self, weights: Sequence[Path]) -> list[Path]:
        """The files that are opened: those of the index, or model.safetensors, or all there are.

        Parts without an index are loaded too: loaders/hf/missing_index.py writes one from their headers.
        """
        if self.listed and (own := [path for path in weights if path.name in self.listed]):
            return own
        single = [path for path in weights if path.name == "model.safetensors"]
        usual = [path for path in weights if not path.name.startswith(("consolidated", "adapter_"))]
        return single or usual or list(weights)

    def facts(self) -> ModelFacts:
        """Everything, with the first thing that speaks against it."""
        missing = sorted(self.listed - set(self.names))
        headers: list[SafetensorsHeader] = []
        fmt, problem = "", None
        if missing:
            shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
            problem = Problem.of(Reason.PART_FILES_MISSING, count=len(self.listed), files=text_of(shown))
        try:
            headers = read_all(self.weights)
        except SafetensorsError as error:
            if error.unreadable:
                return ModelFacts("safetensors", problem=error.problem, extra={"unreadable": True})
            fmt, problem = self._bad_format(), self._pointers() or error.problem
        if not self.weights and not missing:
            fmt, problem = self._no_safetensors()
        return self._made(headers, fmt, problem or self._other_layout() or self._marked())

    def _other_layout(self) -> Problem | None:
        """Weights as the makers of Mistral write them for their own programs; the config.json is for others."""
        if self.weights and all(path.name.startswith("consolidated") for path in self.weights):
            return Problem.of(Reason.OTHER_LAYOUT, file=text_of(self.weights[0].name))
        return None

    def _marked(self) -> Problem | None:
        """A file that the engines' JSON readers refuse for its first bytes."""
        for name in _READ_BY_ENGINES:
            path = self.folder / name
            if name in self.names and path.is_file():
                with path.open("rb") as file:
                    if file.read(3).startswith(BYTE_ORDER_MARKS):
                        return Problem.of(Reason.JSON_BOM, file=name)
        return None

    def _bad_format(self) -> str:
        """The format of the first weights file that is none."""
        for path in self.weights:
            with path.open("rb") as file:
                if found := bad_file(file.read(START), path.stat().st_size, path.suffix):
                    return found.format if found.format != "unknown" else ""
        return ""

    def _pointers(self) -> Problem | None:
        """The problem of a folder that was cloned without Git LFS; None for any other."""
        both = (*self.weights, *self.pickles)
        small = [path for path in both if 0 < path.stat().st_size < 1024]
        pointers = [path for path in small if path.read_bytes().startswith(b"version https://git-lfs")]
        return Problem.of(Reason.LFS_FOLDER, count=len(pointers), total=len(both)) if pointers else None

    def _no_safetensors(self) -> tuple[str, Problem]:
        """Format and problem of a folder without a safetensors file."""
        if self.pickles:
            return self._only_pickles()
        if any(name.endswith(".onnx") for name in self.names):
            return "onnx", Problem.of(Reason.ONNX)
        if any(name.endswith((".h5", ".msgpack", ".ckpt.index")) for name in self.names):
            return "unknown", Problem.of(Reason.TENSORFLOW)
        return "safetensors", Problem.of(Reason.NO_WEIGHTS)

    def _only_pickles(self) -> tuple[str, Problem]:
        if pointers := self._pointers():
            return "lfs-pointer", pointers
        for path in self.pickles:
            with path.open("rb") as file:
                start = file.read(START)
            if (spec := ctranslate2_spec(start)) is not None:
                return "ctranslate2", Problem.of(Reason.CTRANSLATE2, spec=spec)
            if not is_pickle(start):
                bad = bad_file(start, path.stat().st_size, path.suffix)
                name = text_of(path.name)
                return "pickle", (Problem.of(Reason.IN_FILE, file=name, inner=bad.problem) if bad
                                  else Problem.of(Reason.NOT_PYTORCH, file=name))  # fmt: skip
        if PICKLE_INDEX not in self.names and "pytorch_model.bin" not in self.names:
            return "pickle", Problem.of(Reason.NO_INDEX, first=text_of(self.pickles[0].name), index=PICKLE_INDEX)
        return "pickle", Problem.of(Reason.PICKLE)

    def _made(self, headers: Sequence[SafetensorsHeader], fmt: str, problem: Problem | None) -> ModelFacts:
        config, groups = self.config, merged(header.groups for header in headers)
        marks, elements = all_marks(headers)
        found = quantization(config.whole, self._more_config(), marks, elements)
        kind, unfit = folder_kind(config, self.names, self.card)
        if fmt == "ctranslate2":
            kind, unfit = "other", None
        if problem is None and found.conflict:
            problem = Problem.of(Reason.QUANTIZATION_CONFLICT, method=found.conflict)
        if problem is None and unfit is not None:
            problem = Problem.of(unfit)
        if problem is None and not any(
            name.startswith(("tokenizer", "vocab", "spiece", "tekken", "sentencepiece", "spm"))
            or name.endswith((".tiktoken", ".model"))
            for name in self.names
        ):
            problem = Problem.of(Reason.NO_TOKENIZER)
        full, window, state = config.split_layers()
        first = next((header for header in headers), None)
        shape = marks["embed_tokens.weight"].shape if "embed_tokens.weight" in marks else ()
        flat = len(shape) == 2 and found.format == "safetensors"
        return ModelFacts(
            fmt or found.format, kind, config.architecture or config.model_type, name=self.folder.name,
            quant=found.words, size=_sizes(self.weights or self.pickles), weights=groups.total if first else None,
            parameters=parameters(found.format, found.bits, marks, elements) if first and not fmt else None,
            context_length=config.number("context_length"),
            layers=config.number("layers") or (max(groups.blocks, default=-1) + 1) or None,
            hidden=config.number("hidden") or (shape[1] if flat else None), heads=config.number("heads"),
            kv_heads=config.kv_heads, head_dim=config.head_dim,
            vocabulary=config.number("vocabulary") or (shape[0] if flat else None), kv_layers=full,
            window=config.window if window else None, window_layers=window,
            capabilities=folder_capabilities(self.folder, self.names, kind, config), languages=self.card.languages,
            base=self.card.base, problem=problem, extra=self._extra(groups, found.bits, state),
        )  # fmt: skip

    def _more_config(self) -> Mapping[str, Any]:
        """What a quantiser wrote beside config.json; a file that is broken says nothing."""
        for name in ("quantize_config.json", "quant_config.json", "hf_quant_config.json"):
            if name in self.names:
                try:
                    return read_json(self.folder / name)
                except JsonError:
                    return {}
        return {}

    def _extra(self, groups: Groups, bits: float | None, state: int) -> Extra:
        extra: Extra = {**self.config.extra(), **groups.extra()}
        if bits is not None:
            extra["bits"] = bits
        if state:
            extra["recurrent_layers"] = state
        if self.config.head_dim is not None:
            extra.setdefault("key_length", self.config.head_dim)
        return extra


def index_parts(path: Path) -> frozenset[str]:
    """Names of the files an index names. Not parsed but searched, piece by piece: the largest have 20 MB.

    Raises nothing: an index that cannot be read names nothing, and the weights speak for themselves.
    """
    found: set[str] = set()
    try:
        with path.open("rb") as file:
            rest, read = b"", 0
            while read < _INDEX_MOST and len(found) < _MOST_FILES and (piece := file.read(_PIECE)):
                read += len(piece)
                found.update(match.decode("utf-8", "replace") for match in _SHARD.findall(rest + piece))
                rest = piece[-256:]
    except OSError:
        return frozenset()
    return frozenset(found)


def _tensorrt(folder: Path, names: Sequence[str]) -> ModelFacts:
    engines = [folder / name for name in names if name.endswith((".engine", ".plan"))]
    try:
        whole = read_json(folder / "config.json")
    except JsonError as error:
        return ModelFacts("tensorrt-llm", size=_sizes(engines), problem=error.problem)
    inner = whole.get("pretrained_config")
    config = HfConfig.of(inner if isinstance(inner, dict) else whole)
    build = whole.get("build_config")
    longest = build.get("max_seq_len") if isinstance(build, dict) else None
    arch = config.whole.get("architecture")
    quant = config.whole.get("quantization")
    algorithm = quant.get("quant_algo") if isinstance(quant, dict) else None
    return ModelFacts(
        "tensorrt-llm", arch=arch[:100] if isinstance(arch, str) else "", size=_sizes(engines), name=folder.name,
        quant=algorithm[:40] if isinstance(algorithm, str) else str(config.extra().get("dtype", "")),
        weights=_sizes(engines), context_length=longest if type(longest) is int else None,
        layers=config.number("layers"), hidden=config.number("hidden"), heads=config.number("heads"),
        kv_heads=config.kv_heads, head_dim=config.head_dim, vocabulary=config.number("vocabulary"),
        kv_layers=config.number("layers"), extra={"engines": len(engines)},
    )  # fmt: skip


def _sizes(paths: Sequence[Path]) -> int:
    total = 0
    for path in paths:
        total += path.stat().st_size
    return total
