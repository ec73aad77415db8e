"""ExLlamaV3 with a loaded model, in its own words. Written against 1.6.5."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import exllamav3 as exl3
import torch
from exllamav3.model.lora import LoRA

from loaders.base import LoadRequest, NamedFile
from loaders.exllama.backend import Asked, adapter_folder
from loaders.exllama.grammar import GrammarTokenizer
from loaders.exllama.model_thread import Event
from loaders.exllama.v3_sampler import sampler
from modules.errors import LoadFailed
from modules.types import Notice, TokenLogprob, TopLogprob

PAGE = 256
_LEAST = math.log(1e-30)
Progress = Callable[[float, str], None]


class ExLlamaV3:
    """The model, its cache and its generator. Raises LoadFailed. Made on the model's thread, like all that computes."""

    def __init__(self, request: LoadRequest, context: int, progress: Progress) -> None:
        settings = request.settings
        self._settings = settings
        config = exl3.Config.from_directory(request.path)
        if experts := _whole(settings["cpu_experts"]):
            config.infer_params.moe_cpu_offload = experts
        self._model = exl3.Model.from_config(config)
        self._draft = self._draft_model(config, request.files.get("draft_model", ()))
        self._ahead = self._draft_length()
        self.context = context
        self._cache = self._new_cache(self._model)
        self._draft_cache = None if self._draft is None else self._new_cache(self._draft)
        self._vision = self._vision_model(config)
        self._load(progress)
        self.tokenizer = exl3.Tokenizer.from_config(config)
        self.ends = tuple(dict.fromkeys(int(token) for token in config.eos_token_id_list))
        self.guide = GrammarTokenizer(Path(request.path), self.ends)
        self._adapters = [  # kept: an adapter that is collected takes its weights along
            LoRA.from_directory(self._model, adapter_folder(file.path), file.scale)
            for file in request.files.get("lora", ()) if file.scale
        ]  # fmt: skip
        self.generator = self._new_generator()

    @property
    def sees(self) -> bool:
        """Whether the model takes images, and its part for them is loaded."""
        return self._vision is not None

    def _draft_model(self, config: Any, files: tuple[NamedFile, ...]) -> Any:
        """The small model that guesses ahead, or the one the model itself brings (MTP)."""
        if len(files) > 1:
            raise LoadFailed("Only one draft model can be used.")
        if self._settings["mtp"]:
            if files:
                raise LoadFailed("A draft model and the model's own (MTP) exclude each other.")
            if "mtp" not in config.model_classes:
                raise LoadFailed("This model has no multi-token prediction (MTP).", hint="Load it with mtp off.")
            return exl3.Model.from_config(config, component="mtp")
        if not files:
            return None
        return exl3.Model.from_config(exl3.Config.from_directory(files[0].path))

    def _draft_length(self) -> int:
        """Tokens guessed ahead; 0 without anything that guesses."""
        asked = _whole(self._settings["draft_tokens"])
        if self._draft is not None:
            return asked or int(self._draft.caps.get("default_draft_size", 4))
        return (asked or 4) if _whole(self._settings["ngram"]) else 0

    def _new_cache(self, model: Any) -> Any:
        """Pages for all replies together; one more for what a reply writes past its end."""
        pages = math.ceil((self.context + 1 + self._ahead) / PAGE)
        keys, values = bits(self._settings["cache_type_k"]), bits(self._settings["cache_type_v"])
        if bool(keys) != bool(values):
            raise LoadFailed("Keys and values have to be both fp16 or both quantised.",
                             hint="Choose cache_type_k and cache_type_v of one kind.")  # fmt: skip
        kind: dict[str, Any] = {"layer_type": exl3.CacheLayer_fp16}
        if keys:
            kind = {"layer_type": exl3.CacheLayer_quant, "k_bits": keys, "v_bits": values}
        slots = _whole(self._settings["parallel"])
        return exl3.Cache(model, pages * PAGE, max_batch_size=slots, max_history=self._ahead, **kind)

    def _vision_model(self, config: Any) -> Any:
        if not self._settings["vision"] or "vision" not in config.model_classes:
            return None
        return exl3.Model.from_config(config, component="vision")

    def _load(self, progress: Progress) -> None:
        settings = self._settings
        split = numbers(settings["gpu_split"], "gpu_split")
        reserve = numbers(settings["gpu_reserve"], "gpu_reserve")
        if split and reserve:
            raise LoadFailed("gpu_split and gpu_reserve exclude each other: what is used, or what is left free.")
        where = {"use_per_device": split or None, "reserve_per_device": reserve or None}
        chunk, slots = _whole(settings["chunk_size"]), _whole(settings["parallel"])
        if self._vision is not None:
            self._vision.load(callback=_told(progress, 0.32, 0.38, "loading the part for images"))
        if self._draft is not None:
            told = _told(progress, 0.38, 0.45, "loading the draft model")
            self._draft.load(**where, max_chunk_size=chunk, max_batch_size=slots, callback=told)
        self._model.load(
            **where, tensor_p=bool(settings["tensor_parallel"]), tp_backend=str(settings["tp_backend"]),
            max_chunk_size=chunk, max_batch_size=slots, draft_model=self._draft,
            callback=_told(progress, 0.45, 0.95, "loading the model"),
        )  # fmt: skip

    def _new_generator(self) -> Any:
        settings = self._settings
        ngram = _whole(settings["ngram"])
        if ngram and self._draft is not None:
            raise LoadFailed("Guessing from repeated text and a draft model exclude each other.",
                             hint="Set ngram to 0, or load without a draft model.")  # fmt: skip
        return exl3.Generator(
            self._model, self._cache, self.tokenizer, max_batch_size=_whole(settings["parallel"]),
            max_chunk_size=_whole(settings["chunk_size"]), draft_model=self._draft, draft_cache=self._draft_cache,
            num_draft_tokens=self._ahead or None, ngram_match_min=ngram,
            cpu_cache_size=int(_real(settings["cpu_cache_gib"]) * 2**30),
        )  # fmt: skip

    def encode(self, text: str, bos: bool, embeddings: tuple[Any, ...]) -> Any:
        return self.tokenizer.encode(text, add_bos=bos, encode_special_tokens=True, embeddings=list(embeddings))

    def tensor(self, tokens: list[int]) -> Any:
        return torch.tensor([tokens], dtype=torch.long)

    def decode(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode(torch.tensor(tokens, dtype=torch.long), decode_special_tokens=True))

    def see(self, image: Any) -> Any:
        return self._vision.get_image_embeddings(tokenizer=self.tokenizer, image=image)

    def job(self, asked: Asked) -> tuple[Any, list[Notice]]:
        """The job for a request, and what has to be said of it."""
        chain, notices = sampler(asked.values, self.tokenizer, self.ends)
        filters = []
        if asked.grammar:
            filters.append(exl3.LLGuidanceFilter(self.tokenizer, eos_after_completed=True, llg_grammar=asked.grammar))
        job = exl3.Job(
            asked.ids, max_new_tokens=asked.limit, sampler=chain, seed=asked.seed,
            stop_conditions=None if asked.values["ban_eos_token"] else list(self.ends), filters=filters,
            return_top_tokens=asked.logprobs or 0, return_probs=asked.logprobs is not None,
            embeddings=list(asked.embeddings),
        )  # fmt: skip
        return job, notices

    def logprobs(self, event: Event, top: int) -> list[TokenLogprob]:
        """The library tells probabilities of the model's own distribution, before any sampler."""
        ids, probs = event["token_ids"][0].tolist(), event["token_probs"][0].tolist()
        best: list[list[TopLogprob]] = [[] for _ in ids]
        if top:
            pairs = zip(event["top_k_tokens"][0].tolist(), event["top_k_probs"][0].tolist(), strict=True)
            best = [[self._candidate(*one) for one in zip(tokens, shares, strict=True)] for tokens, shares in pairs]
        chosen = [self._candidate(token, share) for token, share in zip(ids, probs, strict=True)]
        return [TokenLogprob(one, tuple(rivals)) for one, rivals in zip(chosen, best, strict=True)]

    def _candidate(self, token: int, probability: float) -> TopLogprob:
        data = self.guide.piece(int(token))
        logprob = min(0.0, math.log(probability)) if probability > 0 else _LEAST
        return TopLogprob(data.decode("utf-8", "replace"), logprob, tuple(data), int(token))


def bits(kind: object) -> int:
    """Bits of a cache type ("q6" → 6); 0 for fp16."""
    return 0 if kind == "fp16" else int(str(kind).removeprefix("q"))


def numbers(text: object, name: str) -> list[float]:
    """Gigabytes per card: "20,24". Raises LoadFailed."""
    try:
        return [float(part) for part in str(text).split(",") if part.strip()]
    except ValueError:
        raise LoadFailed(f"{name} is {text!r}, but it has to be gigabytes per card with commas, as 20,24.") from None


def _told(progress: Progress, low: float, high: float, what: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(low + (high - low) * done / max(1, total), what)


def _whole(value: object) -> int:
    return int(value) if isinstance(value, (int, float)) else 0


def _real(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
