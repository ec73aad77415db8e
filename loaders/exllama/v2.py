"""ExLlamaV2 with a loaded model, in its own words. Written against 0.3.2, the last one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import exllamav2 as exl2
import torch
from exllamav2 import attn, generator

from loaders.base import LoadRequest, NamedFile
from loaders.exllama.backend import Asked, adapter_folder
from loaders.exllama.grammar import GrammarTokenizer
from loaders.exllama.model_thread import Event
from loaders.exllama.v2_filter import GuidanceFilter
from loaders.exllama.v2_sampler import settings_for
from loaders.text.logprobs import logprob_of
from modules.errors import LoadFailed
from modules.types import Notice, TokenLogprob

PAGE = 256
_CACHES = {"fp16": "ExLlamaV2Cache", "q8": "ExLlamaV2Cache_Q8", "q6": "ExLlamaV2Cache_Q6", "q4": "ExLlamaV2Cache_Q4"}
Progress = Callable[[float, str], None]


class ExLlamaV2Library:
    """The model, its cache and its generator. Raises LoadFailed. Made on the model's thread, like all that computes."""

    def __init__(self, request: LoadRequest, context: int, ends: tuple[int, ...], progress: Progress) -> None:
        self._settings = request.settings
        self.paged = bool(attn.has_flash_attn_with_paged)
        self.slots = _whole(self._settings["parallel"]) if self.paged else 1
        self._ahead = _whole(self._settings["draft_tokens"]) if self._guesses(request) else 0
        self.context = context
        self._tokens = -(-(context + self._ahead) // PAGE) * PAGE
        config = self._config(request.path)
        self._model = exl2.ExLlamaV2(config)
        self._vision = self._vision_tower(config, progress)
        self._draft, self._draft_cache = self._draft_model(request.files.get("draft_model", ()), progress)
        self._cache = self._load(self._model, _told(progress, 0.4, 0.95, "loading the model"))
        self.tokenizer = exl2.ExLlamaV2Tokenizer(config)
        own = self.tokenizer.eos_token_id
        self.ends = tuple(dict.fromkeys([*ends, *([int(own)] if own is not None else [])]))
        self.guide = GrammarTokenizer(Path(request.path), self.ends)
        self.generator = generator.ExLlamaV2DynamicGenerator(
            self._model, self._cache, self.tokenizer, max_batch_size=self.slots, max_seq_len=self._tokens,
            max_chunk_size=config.max_input_len if self.paged else None, draft_model=self._draft,
            draft_cache=self._draft_cache, num_draft_tokens=self._ahead or 4,
            use_ngram_draft=bool(self._settings["ngram"]), paged=self.paged,
        )  # fmt: skip
        adapters = [
            exl2.ExLlamaV2Lora.from_directory(self._model, adapter_folder(file.path), file.scale)
            for file in request.files.get("lora", ()) if file.scale
        ]  # fmt: skip
        if adapters:
            self.generator.set_loras(adapters)

    @property
    def sees(self) -> bool:
        """Whether the model takes images, and its part for them is loaded."""
        return self._vision is not None

    def _guesses(self, request: LoadRequest) -> bool:
        """Whether something guesses ahead."""
        files = request.files.get("draft_model", ())
        if len(files) > 1:
            raise LoadFailed("Only one draft model can be used.")
        if files and self._settings["ngram"]:
            raise LoadFailed("Guessing from repeated text and a draft model exclude each other.",
                             hint="Turn ngram off, or load without a draft model.")  # fmt: skip
        return bool(files) or bool(self._settings["ngram"])

    def _config(self, path: str) -> Any:
        config = exl2.ExLlamaV2Config(path)
        config.arch_compat_overrides()
        config.max_seq_len = self._tokens
        chunk = _whole(self._settings["chunk_size"]) // PAGE * PAGE
        config.max_input_len, config.max_attention_size = chunk, chunk**2
        config.scale_pos_emb = _real(self._settings["rope_scale"])
        config.scale_alpha_value = _real(self._settings["rope_alpha"])
        return config

    def _vision_tower(self, config: Any, progress: Progress) -> Any:
        if not self._settings["vision"] or config.vision_model_type is None:
            return None
        progress(0.31, "loading the part for images")
        tower = exl2.ExLlamaV2VisionTower(config)
        tower.load()
        return tower

    def _draft_model(self, files: tuple[NamedFile, ...], progress: Progress) -> tuple[Any, Any]:
        """The small model that guesses ahead, with a cache of the same size."""
        if not files:
            return None, None
        model = exl2.ExLlamaV2(self._config(files[0].path))
        return model, self._load(model, _told(progress, 0.34, 0.4, "loading the draft model"), alone=True)

    def _load(self, model: Any, told: Callable[[int, int], None], alone: bool = False) -> Any:
        """Load a model; returns its cache. `alone` = it is never divided among the cards."""
        kind = getattr(exl2, _CACHES[str(self._settings["cache_type"])])
        split = gigabytes(self._settings["gpu_split"])
        if self._settings["tensor_parallel"] and not alone:
            model.load_tp(split or None, callback=told, expect_cache_tokens=self._tokens, expect_cache_base=kind)
            return exl2.ExLlamaV2Cache_TP(model, base=kind, max_seq_len=self._tokens)
        if split and not alone:
            model.load(split, callback=told)
            return kind(model, max_seq_len=self._tokens)
        cache = kind(model, max_seq_len=self._tokens, lazy=True)
        reserve = [int(one * 2**30) for one in gigabytes(self._settings["gpu_reserve"])]
        model.load_autosplit(cache, reserve_vram=reserve or None, callback=told)
        return cache

    def encode(self, text: str, bos: bool, embeddings: tuple[Any, ...]) -> Any:
        return self.tokenizer.encode(text, add_bos=bos, encode_special_tokens=True, embeddings=list(embeddings))

    def tensor(self, tokens: list[int]) -> Any:
        return torch.tensor([tokens], dtype=torch.long)

    def decode(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode(torch.tensor(tokens, dtype=torch.long), decode_special_tokens=True))

    def see(self, image: Any) -> Any:
        return self._vision.get_image_embeddings(model=self._model, tokenizer=self.tokenizer, image=image)

    def job(self, asked: Asked) -> tuple[Any, list[Notice]]:
        """The job for a request, and what has to be said of it."""
        bound = bool(asked.grammar)
        settings, notices = settings_for(asked.values, self.tokenizer, self.ends, bound)
        filters = [GuidanceFilter(self._model, self.tokenizer, self.guide, asked.grammar)] if bound else []
        banned = asked.values["ban_eos_token"] and not bound
        job = generator.ExLlamaV2DynamicJob(
            asked.ids, max_new_tokens=asked.limit + self._ahead,  # the library ends that much before its limit
            gen_settings=settings, seed=asked.seed, stop_conditions=None if banned else list(self.ends),
            return_logits=asked.logprobs is not None, filters=filters, embeddings=list(asked.embeddings),
        )  # fmt: skip
        return job, notices

    def logprobs(self, event: Event, top: int) -> list[TokenLogprob]:
        """From the logits. The library writes penalties and bias into them; the samplers after those do not count."""
        ids = [int(token) for token in event["token_ids"][0].tolist()]
        size = len(self.tokenizer.get_id_to_piece_list(True))  # what is beyond is padding
        rows = event["logits"][0].float().cpu().numpy()[:, :size]
        return [logprob_of(row, token, top, self.guide.piece) for row, token in zip(rows, ids, strict=True)]


def gigabytes(text: object) -> list[float]:
    """Gigabytes per card: "20,24". Raises LoadFailed."""
    try:
        return [float(part) for part in str(text).split(",") if part.strip()]
    except ValueError:
        raise LoadFailed(f"{text!r} has to be gigabytes per card with commas, as 20,24.") from None


def _told(progress: Progress, low: float, high: float, what: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(low + (high - low) * done / max(1, total), what)


def _whole(value: object) -> int:
    return int(value) if isinstance(value, (int, float)) else 0


def _real(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
