"""exllamav3 1.6.5 as the loader sees it. Files and lines in the comments are those of its source."""

from __future__ import annotations

import os
from types import SimpleNamespace

import torch
from standin_bytes import EOS, PAGE, Bytes, Crank, Embedding, Work, told

if os.environ.get("STANDIN_BUILD") == "fails":
    raise RuntimeError("Error building extension 'exllamav3_ext'")


class Config:  # model/config.py:259, per architecture
    @staticmethod
    def from_directory(directory, **kwargs):
        assert not kwargs
        if "strange" in str(directory):
            raise AssertionError("Unknown architecture StrangeForCausalLM in config.json")
        config = SimpleNamespace(directory=directory, vocab_size=258, eos_token_id_list=[EOS, EOS])
        config.model_classes = {"text": 1, "vision": 1} if "vision" in str(directory) else {"text": 1}
        config.infer_params = SimpleNamespace(moe_cpu_offload=0)
        return config


class Model:
    def __init__(self, config, component):
        self.config, self.component, self.caps = config, component, {}

    @staticmethod
    def from_config(config, component="text", **kwargs):  # model/model.py:171
        assert not kwargs
        return Model(config, component)

    def load(
        self,
        device=None,
        tp_output_device=None,
        reserve_per_device=None,
        use_per_device=None,
        tensor_p=False,
        progressbar=False,
        max_chunk_size=2048,
        max_output_size=32,
        max_output_factor=1,
        callback=None,
        generator=True,
        tp_dev_limits=None,
        tp_backend="native",
        verbose=False,
        max_batch_size=1,
        tp_options=None,
        autosplit_no_forward=False,
        draft_model=None,
    ):  # model/model.py:475, load_gen
        told(
            "load",
            component=self.component,
            use=use_per_device,
            reserve=reserve_per_device,
            tp=tensor_p,
            backend=tp_backend,
            chunk=max_chunk_size,
            batch=max_batch_size,
            draft=draft_model is not None,
        )
        if use_per_device == [0.5]:
            raise RuntimeError("Insufficient VRAM in split for model and cache")
        for number in range(4):
            callback(number + 1, 4)

    def get_image_embeddings(self, tokenizer, image, text_alias=None):  # architecture/qwen2_5_vl.py:372
        assert self.component == "vision"
        told("see", size=list(image.size), mode=image.mode)
        return Embedding("<$EMB_1000000$>")


class CacheLayer_fp16: ...  # noqa: N801


class CacheLayer_quant: ...  # noqa: N801


class Cache:
    def __init__(
        self, model, max_num_tokens, layer_type=None, max_batch_size=16, max_history=0, recurrent_dtype=None, **kwargs
    ):  # cache/cache.py:95
        assert max_num_tokens % PAGE == 0
        assert set(kwargs) <= {"k_bits", "v_bits"}
        told(
            "cache",
            tokens=max_num_tokens,
            kind=layer_type.__name__,
            batch=max_batch_size,
            history=max_history,
            **kwargs,
        )
        self.max_num_tokens = max_num_tokens


class Tokenizer(Bytes):
    def __init__(self, config):
        self.config = config

    @staticmethod
    def from_config(config):  # tokenizer/tokenizer.py:773
        return Tokenizer(config)

    def encode(
        self, text, add_bos=False, add_eos=False, encode_special_tokens=False, return_offsets=False, embeddings=None
    ):  # tokenizer/tokenizer.py:445
        assert encode_special_tokens
        return self.ids(text, add_bos, embeddings or [])

    def decode(self, ids, decode_special_tokens=False):  # tokenizer/tokenizer.py:586
        return self.text(ids.tolist())

    def get_id_to_piece_list(self, include_special_tokens=False):  # tokenizer/tokenizer.py:757
        return self.pieces()


class Step:
    def __init__(self, *values):
        self.values = [type(self).__name__, *values]


class SS_Argmax(Step): ...  # noqa: N801


class SS_Sample(Step): ...  # noqa: N801


class SS_Temperature(Step):  # noqa: N801
    def __init__(self, temperature):  # generator/sampler/custom.py:363
        super().__init__(temperature)


class SS_TopK(Step):  # noqa: N801
    def __init__(self, top_k):  # custom.py:441
        super().__init__(top_k)


class SS_TopP(Step):  # noqa: N801
    def __init__(self, top_p):  # custom.py:473
        super().__init__(top_p)


class SS_MinP(Step):  # noqa: N801
    def __init__(self, min_p):  # custom.py:509
        super().__init__(min_p)


class SS_BanTokens(Step):  # noqa: N801
    def __init__(self, token_ids):  # custom.py:567
        super().__init__(token_ids)


class SS_LogitBias(Step):  # noqa: N801
    def __init__(self, logit_bias):  # custom.py:632
        super().__init__({str(token): str(bias) for token, bias in logit_bias.items()})


class SS_XTC(Step):  # noqa: N801
    def __init__(self, probability, threshold, protected_token_ids=None, tokenizer=None):  # custom.py:676
        assert tokenizer is not None
        super().__init__(probability, threshold)


class SS_RepP(Step):  # noqa: N801
    def __init__(self, rep_p=1.0, sustain_range=int(10e7), decay_range=0):  # custom.py:758
        super().__init__(rep_p, sustain_range, decay_range)


class SS_PresFreqP(Step):  # noqa: N801
    def __init__(self, pres_p=0.0, freq_p=0.0, sustain_range=int(10e7), decay_range=0):  # custom.py:818
        super().__init__(pres_p, freq_p, sustain_range, decay_range)


class SS_DRY(Step):  # noqa: N801
    def __init__(
        self,
        dry_multiplier=0.0,
        dry_base=1.75,
        dry_allowed_length=2,
        dry_range=0,
        dry_sequence_breakers=None,
        tokenizer=None,
    ):  # custom.py:965
        super().__init__(dry_multiplier, dry_base, dry_allowed_length, dry_range, sorted(dry_sequence_breakers))


class SS_AdaptiveP(Step):  # noqa: N801
    def __init__(self, target=1.0, decay=0.0):  # custom.py:1067
        super().__init__(target, decay)


def dry_sequence_breaker_tokens(tokenizer, sequence_breakers):  # custom.py:875
    assert isinstance(sequence_breakers, tuple)
    return frozenset(i for i, piece in enumerate(tokenizer.pieces()) if any(one in piece for one in sequence_breakers))


class CustomSampler:
    def __init__(self, steps):  # custom.py:1141
        self.steps = [step.values for step in steps]


class LLGuidanceFilter:
    def __init__(
        self,
        tokenizer,
        trigger_token=None,
        prefix_str=None,
        eos_after_completed=False,
        json_schema=None,
        regex=None,
        lark_grammar=None,
        gbnf_grammar=None,
        llg_grammar=None,
        consume_prefix=False,
    ):  # generator/filter/llguidance.py:34
        from llguidance import LLMatcher, LLTokenizer

        assert eos_after_completed
        file = os.path.join(tokenizer.config.directory, "tokenizer.json")
        with open(file, encoding="utf-8") as text:
            self.matcher = LLMatcher(LLTokenizer(text.read(), eos_token=EOS), llg_grammar)
        assert not self.matcher.is_error(), self.matcher.get_error()

    def choose(self, token):
        """The token where it may follow, else the first that may."""
        if not self.matcher.validate_tokens([token]):
            token = next(one for one in range(258) if self.matcher.validate_tokens([one]))
        assert self.matcher.consume_token(token)
        return token


class Job(Work):
    def __init__(
        self,
        input_ids,
        max_new_tokens=None,
        min_new_tokens=0,
        max_skips=4,
        sampler=None,
        seed=None,
        stop_conditions=None,
        decode_special_tokens=False,
        return_top_tokens=0,
        return_logits=False,
        return_probs=False,
        filters=None,
        token_healing=False,
        identifier=None,
        banned_strings=None,
        embeddings=None,
        max_rq_tokens=None,
        stop_on_loop=None,
        rq_state=None,
    ):  # generator/job.py:54; without its **kwargs, which would take a wrong name
        super().__init__(input_ids, max_new_tokens, stop_conditions, seed)
        self.filters, self.top, self.probs = filters, return_top_tokens, return_probs
        told(
            "job",
            steps=sampler.steps,
            seed=seed,
            limit=max_new_tokens,
            stops=sorted(self.stops),
            ids=self.prompt[:12],
            embeddings=len(embeddings),
        )

    def allowed(self, token):
        for one in self.filters:
            token = one.choose(token)
        return token

    def over(self):
        return any(one.matcher.is_stopped() for one in self.filters)

    def extra(self, held):
        out = {"token_probs": torch.tensor([[0.5] * len(held)])} if self.probs else {}
        if self.top:
            ranks = [[token, *range(65, 64 + self.top)] for token in held]
            shares = [[0.5 / 2**rank for rank in range(self.top)] for _ in held]
            out |= {"top_k_tokens": torch.tensor([ranks]), "top_k_probs": torch.tensor([shares])}
        return out


class Generator(Crank):
    def __init__(
        self,
        model,
        cache,
        tokenizer,
        max_batch_size=256,
        max_chunk_size=2048,
        shared_chunk_size=None,
        prefill_cooldown=4,
        max_q_size=8,
        draft_model=None,
        draft_cache=None,
        num_draft_tokens=None,
        show_visualizer=False,
        enable_defrag=True,
        cpu_cache_size=0,
        disk_cache_dir=None,
        disk_cache_size=50 * 1024**3,
        disk_cache_flush_on_idle=True,
        disk_cache_checkpoint_interval=4096,
        disk_cache_write_interval=2.0,
        recurrent_cache_size=4 * 1024**3,
        recurrent_checkpoint_interval=None,
        recurrent_checkpoint_interval_pp=32768,
        ngram_match_min=0,
        dynamic_draft_tokens=False,
        draft_confidence=0.4,
        record_draft_stats=False,
        ngram_corpus=None,
        hybrid_draft_tokens=0,
        draft_max_rows=0,
        sparse_draft_head=0,
    ):  # generator/generator.py:41; without its **kwargs
        assert (draft_model is None) == (draft_cache is None)
        super().__init__(tokenizer, max_batch_size)
        told(
            "generator",
            batch=max_batch_size,
            chunk=max_chunk_size,
            draft=draft_model is not None,
            ahead=num_draft_tokens,
            ngram=ngram_match_min,
            cpu_cache=cpu_cache_size,
        )
