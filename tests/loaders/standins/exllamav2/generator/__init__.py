"""exllamav2 0.3.2, generator/dynamic.py and generator/sampler.py."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from standin_bytes import Crank, Work, told


class ExLlamaV2Sampler:
    @dataclass
    class Settings:  # generator/sampler.py:43
        token_repetition_penalty: float = 1.025
        token_repetition_range: int = -1
        token_repetition_decay: int = 0
        token_frequency_penalty: float = 0.0
        token_presence_penalty: float = 0.0
        temperature: float = 0.8
        smoothing_factor: float = 0.0
        min_temp: float = 0
        max_temp: float = 0.0
        temp_exponent: float = 1.0
        top_k: int = 50
        top_p: float = 0.8
        top_a: float = 0.0
        min_p: float = 0
        tfs: float = 0
        typical: float = 0
        skew: float = 0
        temperature_last: bool = False
        mirostat: bool = False
        mirostat_tau: float = 1.5
        mirostat_eta: float = 0.1
        mirostat_mu: float | None = None
        token_bias: object = None
        cfg_scale: float | None = None
        post_sampling_hooks: list = field(default_factory=list)
        dry_allowed_length: int = 2
        dry_base: float = 1.75
        dry_multiplier: float = 0.0
        dry_sequence_breakers: set | None = None
        dry_range: int = 0
        dry_max_ngram: int = 20
        ngram_trie: dict | None = None
        ngram_index: int = 0
        ngram_history: object = None
        xtc_probability: float = 0.0
        xtc_threshold: float = 0.1
        xtc_ignore_tokens: frozenset | None = None


class ExLlamaV2DynamicJob(Work):
    def __init__(
        self,
        input_ids,
        max_new_tokens,
        min_new_tokens=0,
        max_skips=4,
        gen_settings=None,
        seed=None,
        stop_conditions=None,
        decode_special_tokens=False,
        return_top_tokens=0,
        return_logits=False,
        return_probs=False,
        filters=None,
        filter_prefer_eos=False,
        token_healing=False,
        identifier=None,
        banned_strings=None,
        embeddings=None,
    ):  # generator/dynamic.py:1602; without its **kwargs
        super().__init__(input_ids, max_new_tokens, stop_conditions, seed)
        self.filters, self.return_logits = filters, return_logits
        bias = gen_settings.token_bias
        values = asdict(gen_settings) | {
            "token_bias": None
            if bias is None
            else {str(i): str(value) for i, value in enumerate(bias.tolist()) if value},
            "width": None if bias is None else len(bias.tolist()),
        }
        values["dry_sequence_breakers"] = sorted(gen_settings.dry_sequence_breakers)
        told(
            "job",
            settings=values,
            seed=seed,
            limit=max_new_tokens,
            stops=sorted(self.stops),
            ids=self.prompt[:12],
            embeddings=len(embeddings),
        )
        for one in filters:
            one.begin("")

    def allowed(self, token):
        for one in self.filters:  # as sampler.py:443 and dynamic.py:1920 do
            assert one.can_mask_logits()
            assert one.prepare_logit_mask() is True
            logits = torch.zeros((288,), dtype=torch.float)
            logits[token] = 1.0
            token = int(np.argmax(one.mask_logits(logits).array))
            assert logits.array[token] <= 1.0
            one.feed(torch.tensor([[token]]))
        return token

    def extra(self, held):
        if not self.return_logits:
            return {}
        logits = np.zeros((1, len(held), 288), np.float32)
        logits[0, range(len(held)), held] = 5.0
        logits[0, :, 258:] = 1000.0  # padding, which is no token
        return {"logits": torch.from_numpy(logits)}


class ExLlamaV2DynamicGenerator(Crank):
    def __init__(
        self,
        model,
        cache,
        tokenizer,
        max_batch_size=None,
        max_seq_len=None,
        max_chunk_size=None,
        max_q_size=8,
        draft_model=None,
        draft_cache=None,
        num_draft_tokens=4,
        use_ngram_draft=False,
        max_ngram=4,
        max_sampling_threads=16,
        min_sampling_threads=3,
        paged=True,
        filter_background_eval=True,
    ):  # generator/dynamic.py:241; without its **kwargs
        assert max_seq_len <= model.config.max_seq_len
        assert max_chunk_size is None or max_chunk_size % 256 == 0
        assert max_q_size * max_batch_size <= model.config.max_input_len
        super().__init__(tokenizer, max_batch_size)
        self.ahead = num_draft_tokens if draft_model or use_ngram_draft else 0
        told(
            "generator",
            batch=max_batch_size,
            chunk=max_chunk_size,
            draft=draft_model is not None,
            ahead=num_draft_tokens,
            ngram=use_ngram_draft,
            paged=paged,
        )

    def enqueue(self, job):
        job.limit -= self.ahead  # as receive_sample does, line 2094
        return super().enqueue(job)

    def set_loras(self, loras):  # generator/dynamic.py:522
        told("set_loras", count=len(loras))
