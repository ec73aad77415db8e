"""exllamav2 0.3.2 as the loader sees it. Files and lines in the comments are those of its source."""

from __future__ import annotations

from standin_bytes import PAGE, Bytes, Embedding, told


class ExLlamaV2Config:
    def __init__(self, model_dir=None):  # config.py:167
        self.model_dir = model_dir
        self.vision_model_type = "pixtral" if "vision" in str(model_dir) else None
        self.vocab_size, self.max_seq_len, self.max_input_len, self.max_attention_size = 258, 4096, 2048, 2048**2
        self.scale_pos_emb = self.scale_alpha_value = 1.0

    def arch_compat_overrides(self, quiet=False, warn_only=False):  # config.py:629
        told("overrides")


class ExLlamaV2:
    def __init__(self, config, lazy_load=False, archparams=None):  # model.py:78
        self.config = config

    def load(self, gpu_split=None, lazy=False, stats=False, callback=None, callback_gen=None, progress=False):
        told("load", split=gpu_split, seq=self.config.max_seq_len, chunk=self.config.max_input_len)  # model.py:266
        callback(4, 4)

    def load_tp(
        self,
        gpu_split=None,
        callback=None,
        callback_gen=None,
        progress=False,
        expect_cache_tokens=0,
        expect_cache_base=None,
    ):  # model.py:354
        told("load_tp", split=gpu_split, tokens=expect_cache_tokens, kind=expect_cache_base.__name__)
        self.tp_context = 1

    def load_autosplit(
        self, cache, reserve_vram=None, last_id_only=False, callback=None, callback_gen=None, progress=False
    ):  # model.py:476
        assert cache.lazy
        told("load_autosplit", reserve=reserve_vram, kind=type(cache).__name__, tokens=cache.max_seq_len)
        for number in range(4):
            callback(number, 4)


class ExLlamaV2Cache:
    def __init__(
        self,
        model,
        batch_size=1,
        max_seq_len=-1,
        copy_from=None,
        lazy=False,
        num_key_value_heads=None,
        fixed_device=None,
    ):  # cache.py:235, 586, 611, 636
        assert max_seq_len % PAGE == 0
        self.max_seq_len, self.lazy = max_seq_len, lazy


class ExLlamaV2Cache_Q4(ExLlamaV2Cache): ...  # noqa: N801


class ExLlamaV2Cache_Q6(ExLlamaV2Cache): ...  # noqa: N801


class ExLlamaV2Cache_Q8(ExLlamaV2Cache): ...  # noqa: N801


class ExLlamaV2Cache_TP(ExLlamaV2Cache):  # noqa: N801
    def __init__(self, model, base=ExLlamaV2Cache, batch_size=1, max_seq_len=-1):  # cache.py:668
        assert model.tp_context
        super().__init__(model, batch_size, max_seq_len)


class ExLlamaV2Tokenizer(Bytes):
    def __init__(self, config, lazy_init=True, force_json=False, force_spm=False):  # tokenizer/tokenizer.py:78
        self.config = config

    def encode(
        self, text, add_bos=False, add_eos=False, encode_special_tokens=False, return_offsets=False, embeddings=None
    ):  # tokenizer/tokenizer.py:415
        assert encode_special_tokens
        return self.ids(text, add_bos, embeddings or [])

    def decode(self, ids, decode_special_tokens=False):  # tokenizer/tokenizer.py:555
        return self.text(ids.tolist())

    def get_id_to_piece_list(self, include_special_tokens=False):  # tokenizer/tokenizer.py:662
        return self.pieces()


class ExLlamaV2Lora:
    @staticmethod
    def from_directory(model, directory, lora_scaling=1.0):  # lora.py:34
        told("lora", directory=directory, scale=lora_scaling)
        return ExLlamaV2Lora()


class ExLlamaV2VisionTower:
    def __init__(self, config):  # vlm/vision_tower.py:35
        self.config = config

    def load(self, gpu_split=None, lazy=False, stats=False, callback=None, callback_gen=None, progress=False):
        told("load_vision")  # model.py:266

    def get_image_embeddings(
        self, model, tokenizer, image, text_alias=None, embeddings_cpu=True
    ):  # vlm/vision_tower.py:344
        told("see", size=list(image.size), mode=image.mode)
        return Embedding("<$EMB_1000000$>")
