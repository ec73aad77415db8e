"""The backend for models that turn texts into vectors: sentence-transformers folders and plain encoders."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from loaders.base import Feature, LoaderSpec, LoadRequest, TaskFunction
from loaders.hf.cancellation import Stopped, layers_of, stoppable
from loaders.hf.device_map import Place, choose_dtype
from loaders.hf.loading import main_device, weights_reported
from loaders.hf.missing_index import with_index
from loaders.hf.out_of_memory import trim
from loaders.text.embedding_queue import turn
from loaders.text.hf_folder import choose_context, folder_of
from modules.errors import BadRequest, Cancelled, ContextOverflow, LoadFailed, Unsupported
from modules.tasks import EMBED
from modules.types import Chunk, Embeddings, EngineInfo, GenerationRequest, Message

_AT_ONCE, _TOKENS = 16, 8192
"""Texts, and tokens with their padding, that are computed in one call. A cancel is seen between two layers, so that a
layer must not take long: 16 texts of 8,192 tokens each would take a processor a minute, and gigabytes."""
_USED = ("context", "dtype", "device", "threads")
_KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")
POOLINGS = {
    "pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean", "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}  # fmt: skip


class EmbeddingEngine:
    """One loaded embedding model. Thread-safe: one call computes at a time."""

    def __init__(self, info: EngineInfo, model: Any, tokenizer: Any, pooling: str, device: torch.device) -> None:
        self.info = info
        self._model = model
        self._tokenizer = tokenizer
        self._pooling = pooling
        self._device = device
        self._lock = threading.Lock()
        self._stack = layers_of(model)

    @property
    def tasks(self) -> Mapping[str, TaskFunction]:
        """See TaskFunction."""
        return {EMBED.name: lambda request, cancelled: self.embed(request["texts"], cancelled)}

    def embed(self, texts: list[str], cancelled: Callable[[], bool]) -> Embeddings:
        """One vector of length 1 per text. Raises BadRequest for none, ContextOverflow for one that is too long, and
        Cancelled before the next layer."""
        if not texts:
            raise BadRequest("There is no text.", param="input")
        ids: list[list[int]] = []
        for number, text in enumerate(texts):
            if cancelled():
                raise _cancelled()
            ids.append(tokens := self.tokenize(text, True))
            if not tokens:
                raise BadRequest(f"Text {number + 1} is empty.", param="input")
            if len(tokens) > self.info.context:
                raise ContextOverflow(
                    f"Text {number + 1} has {len(tokens)} tokens, but the context is {self.info.context}.",
                    hint="Split it into shorter ones.",
                )
        vectors: dict[int, tuple[float, ...]] = {}
        for places in batches([len(tokens) for tokens in ids]):
            with turn(self._lock, cancelled):
                found = self._vectors([ids[place] for place in places], cancelled)
            vectors |= zip(places, found, strict=True)
        return Embeddings(tuple(vectors[place] for place in range(len(ids))), sum(map(len, ids)))

    def _vectors(self, ids: list[list[int]], cancelled: Callable[[], bool]) -> Iterator[tuple[float, ...]]:
        longest = max(map(len, ids))
        padding = self._tokenizer.pad_token_id or 0
        tokens = torch.tensor([one + [padding] * (longest - len(one)) for one in ids], device=self._device)
        mask = torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one in ids], device=self._device)
        with torch.inference_mode():
            try:
                with stoppable(self._stack, cancelled):
                    hidden = self._model(input_ids=tokens, attention_mask=mask).last_hidden_state.float()
            except Stopped:
                raise _cancelled() from None
            pooled = pool(hidden, mask, self._pooling)
            return iter([tuple(row) for row in torch.nn.functional.normalize(pooled, dim=-1).tolist()])

    def tokenize(self, text: str, special: bool) -> list[int]:
        """Ids of a text, with what the model puts around it."""
        return list(self._tokenizer(text, add_special_tokens=special)["input_ids"])

    def detokenize(self, tokens: list[int]) -> str:
        """Text of ids."""
        return str(self._tokenizer.decode(tokens, skip_special_tokens=False))

    def generate(self, request: GenerationRequest, cancelled: Callable[[], bool]) -> Iterator[Chunk]:
        """It writes nothing."""
        raise _no_text()

    def render(self, messages: tuple[Message, ...], variables: Mapping[str, Any], continue_last: bool) -> str:
        """It does not chat."""
        raise _no_text()

    def close(self) -> None:
        """Nothing to give back."""


def pool(hidden: Tensor, mask: Tensor, kind: str) -> Tensor:
    """One vector out of a text's tokens: [texts, width]."""
    weight = mask.unsqueeze(-1).to(hidden.dtype)
    if kind == "cls":
        return hidden[:, 0]
    if kind == "max":
        return hidden.masked_fill(weight == 0, float("-inf")).amax(1)
    if kind == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]
    return (hidden * weight).sum(1) / weight.sum(1)


def is_embedding(folder: Path, config: Any) -> bool:
    """Whether a folder holds a model for embeddings: it says so, or it has no part that writes."""
    name = (getattr(config, "architectures", None) or [""])[0] or ""
    bare = name.endswith(("Model", "ForMaskedLM")) and not name.endswith("LMHeadModel")
    return (folder / "modules.json").is_file() or bare


def open_embedding(
    request: LoadRequest, spec: LoaderSpec, config: Any, place: Place, progress: Callable[[float, str], None]
) -> EmbeddingEngine:
    """Load one. Raises LoadFailed for a folder with parts that are not known, and what the library raises."""
    folder = with_index(folder_of(Path(request.path)), request.scratch)
    pooling = read_pooling(folder)
    dtype = choose_dtype(str(request.settings["dtype"]), config.dtype, place.device)
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    with weights_reported(progress):
        model = AutoModel.from_pretrained(
            str(folder), dtype=dtype.value, local_files_only=True, trust_remote_code=False, weights_only=True,
            use_safetensors=True if any(folder.glob("*.safetensors")) else None,
        )  # fmt: skip
    model = model.eval().to(place.device)
    trim()
    wanted = request.settings["context"]
    limits = [_read(folder / "sentence_bert_config.json").get("max_seq_length"), most_positions(model)]
    context = choose_context(wanted if isinstance(wanted, int) else 0, min(filter(None, limits), default=None))
    info = EngineInfo(
        model=request.model, loader=spec.name, context=context.value, slots=1, chat_template=False,
        features=(Feature.EMBEDDINGS,),
        details={
            "architecture": type(model).__name__, "device": str(place.device), "device_why": place.why,
            "dtype": str(dtype.value).removeprefix("torch."), "dtype_why": dtype.why, "pooling": pooling,
            "context_why": context.why, **_ignored(request, spec),
        },
    )  # fmt: skip
    return EmbeddingEngine(info, model, tokenizer, pooling, main_device(model, place))


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """The places of texts that are computed together, the shortest first: at least one each time."""
    places: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if len(places) == _AT_ONCE or (places and (len(places) + 1) * lengths[place] > _TOKENS):
            yield places
            places = []
        places.append(place)
    if places:
        yield places


def most_positions(model: Any) -> int | None:
    """Tokens a text may have, None when the model does not say. Models of RoBERTa's kind count positions from behind
    their padding's number, so that of 514 positions 512 can be used."""
    limits = [getattr(model.config, "max_position_embeddings", None)]
    for name, part in model.named_modules():
        if name.endswith("position_embeddings") and getattr(part, "padding_idx", None) is not None:
            limits.append(part.num_embeddings - part.padding_idx - 1)
    return min(filter(None, limits), default=None)


def _ignored(request: LoadRequest, spec: LoaderSpec) -> dict[str, str]:
    """What was set and does nothing for a model that only makes vectors, said."""
    names = [
        param.name for param in spec.params
        if param.name not in _USED and request.settings[param.name] != param.default
    ]  # fmt: skip
    return {"notes": f"This model makes embeddings, so these have no effect: {', '.join(names)}."} if names else {}


def read_pooling(folder: Path) -> str:
    """How a folder wants its tokens put together; the mean where it says nothing. Raises LoadFailed."""
    modules = _read(folder / "modules.json")
    parts = modules if isinstance(modules, list) else []
    for part in parts:
        kind = str(part.get("type", "")).rpartition(".")[2]
        if kind not in _KNOWN_MODULES:
            raise LoadFailed(f"This embedding model has a part that is not known here: {kind}.",
                             hint="Take a model that only pools, or a GGUF of it.")  # fmt: skip
        if kind == "Pooling":
            config = _read(folder / str(part.get("path", "")) / "config.json")
            chosen = [name for mode, name in POOLINGS.items() if config.get(mode)]
            asked = [mode for mode, on in config.items() if mode.startswith("pooling_mode_") and on is True]
            if len(asked) != 1 or not chosen:
                raise LoadFailed(f"This embedding model pools in a way that is not known here: {', '.join(asked)}.",
                                 hint="Take another embedding model.")  # fmt: skip
            return chosen[0]
    return "mean"


def _read(file: Path) -> Any:
    """A JSON file; {} when it is not there. Raises LoadFailed when it cannot be read."""
    if not file.is_file():
        return {}
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise LoadFailed(f"{file.name} cannot be read: {error}", hint="Download the model again.") from error


def _cancelled() -> Cancelled:
    return Cancelled("The request was cancelled.")


def _no_text() -> Unsupported:
    return Unsupported("This model makes embeddings; it writes no text.", hint="Load a language model.", param="model")
