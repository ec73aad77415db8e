"""A launch in the words of xllamacpp, llama.cpp's server as a Python module."""

from __future__ import annotations

import re
from typing import Any

from loaders.llama.flag_table import ROWS, Row, default
from loaders.llama.launch import RERANK, TEXT, Launch, without_card
from loaders.llama.ngram_flags import LEAST_GUESSED, LENGTHS
from loaders.llama.tensors import places
from loaders.llama.threads import processor_threads
from modules.errors import LoadFailed

_MODES = {(True, False): "MMAP", (True, True): "MMAP_MLOCK", (False, True): "MLOCK", (False, False): "NONE"}


def common_params(xllamacpp: Any, launch: Launch, port: int, key: str) -> Any:
    """CommonParams for it. Raises LoadFailed for what the bundled engine cannot do."""
    params = xllamacpp.CommonParams()
    _serving(params, launch, port, key)
    for row in ROWS:
        _set(xllamacpp, params, row, launch)
    _sizes(xllamacpp, params, launch)
    _memory(xllamacpp, params, launch)
    _adapters(xllamacpp, params, launch)
    _guesses(xllamacpp, params, launch)
    if mmproj := launch.files.get("mmproj"):
        params.mmproj.path = mmproj[0].path
    if launch.mode.value != TEXT:
        params.embedding = True
    if launch.mode.value == RERANK:
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    return params


def devices(xllamacpp: Any) -> list[str]:
    """Names of the graphics cards (and the like) this build can use."""
    kinds = xllamacpp.ggml_backend_dev_type
    processor = (kinds.GGML_BACKEND_DEVICE_TYPE_CPU, kinds.GGML_BACKEND_DEVICE_TYPE_ACCEL)
    return [str(one["description"]) for one in xllamacpp.get_device_info() if one["type"] not in processor]


def notes(launch: Launch, cards: list[str]) -> list[str]:
    """What is set and does nothing on these graphics cards."""
    if not cards:
        return without_card(launch.values)
    shares = [part for part in launch.text("tensor_split").split(",") if part.strip()]
    if len(shares) > len(cards):
        return [f"tensor_split has {len(shares)} parts for {len(cards)} graphics cards; the last ones have no effect."]
    return []


def _serving(params: Any, launch: Launch, port: int, key: str) -> None:
    """How it is reached: on this machine only, with a key, by no web page."""
    params.model.path = launch.path
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.api_keys = [key]
    params.cors_origins = ""
    params.ui = False
    params.endpoint_slots = True  # behind the key; the driver asks which slot a request got
    params.prefill_assistant = False  # a reply is continued when it is asked for, not when it comes last
    params.n_threads_http = launch.number("parallel") + 32  # a stream holds one, also while it waits; short calls too
    params.slot_save_path = f"{launch.slots}/" if launch.slots else ""
    # The driver names the slot where it knows better (modules/drivers/slots.py). In all other cases a slot whose prompt
    # is not nearly the same is saved, and the cache asked for a better one; without a cache the oldest slot is taken.
    params.slot_prompt_similarity = similarity(launch)


def similarity(launch: Launch) -> float:
    """How much of a slot's prompt a request has to share to get that slot without a look into the cache."""
    return 0.9 if launch.number("prompt_cache_mib") else 1.0


def _sizes(xllamacpp: Any, params: Any, launch: Launch) -> None:
    params.n_ctx = launch.context.value
    params.n_parallel = int(launch.number("parallel"))
    params.kv_unified = True  # else each slot gets only its share of the context
    params.n_batch = int(launch.number("batch_size"))
    params.n_ubatch = min(int(launch.number("ubatch_size")), params.n_batch)
    threads = processor_threads(int(launch.number("threads")))
    batch = int(launch.number("threads_batch")) or threads
    for one, count in ((params, threads), (params.speculative.draft, threads)):
        one.cpuparams.n_threads = count
        one.cpuparams_batch.n_threads = batch
    attention = {"auto": "AUTO", "on": "ENABLED", "off": "DISABLED"}[launch.text("flash_attention")]
    params.flash_attn_type = getattr(xllamacpp.llama_flash_attn_type, f"LLAMA_FLASH_ATTN_TYPE_{attention}")
    params.cache_ram_mib = int(launch.number("prompt_cache_mib"))
    if scale := launch.number("rope_scale"):
        params.rope_freq_scale = 1.0 / scale


def _memory(xllamacpp: Any, params: Any, launch: Launch) -> None:
    mode = _MODES[bool(launch.values["mmap"]), bool(launch.values["mlock"])]
    params.load_mode = getattr(xllamacpp.llama_load_mode, f"LLAMA_LOAD_MODE_{mode}")
    shares = [float(part) for part in launch.text("tensor_split").split(",") if part.strip()]
    if shares:
        params.tensor_split = (shares + [0.0] * len(params.tensor_split))[: len(params.tensor_split)]
    if where := places(int(launch.number("cpu_moe")), launch.text("override_tensor")):
        for part in where.split(","):
            _check_place(part)
        try:
            params.tensor_buft_overrides = where
        except ValueError as error:
            raise LoadFailed(
                f"override_tensor cannot be used: {error}.",
                hint="Write pattern=buffer; this engine's buffers are in its log.",
            ) from None


def _check_place(part: str) -> None:
    """The engine reads the patterns when it loads, and dies of one that is none."""
    try:
        re.compile(part.partition("=")[0])
    except re.error as error:
        raise LoadFailed(f"override_tensor has the pattern {part!r}, which is none: {error}.",
                         hint="Write it as a regular expression.") from None  # fmt: skip


def _adapters(xllamacpp: Any, params: Any, launch: Launch) -> None:
    if launch.files.get("control_vectors"):
        raise LoadFailed(
            "The bundled engine cannot load control vectors: its Python binding has no way to name them.",
            hint="Set llama_server to a llama-server of your own, which can.",
        )
    params.lora_adapters = [
        xllamacpp.CommonAdapterLoraInfo(file.path, file.scale) for file in launch.files.get("lora", ())
    ]


def _guesses(xllamacpp: Any, params: Any, launch: Launch) -> None:
    if draft := launch.files.get("draft_model"):
        params.speculative.draft.mparams.path = draft[0].path
    if launch.speculation == "off":
        return
    kind = launch.speculation.upper().replace("-", "_")
    params.speculative.types = [getattr(xllamacpp.common_speculative_type, f"COMMON_SPECULATIVE_TYPE_{kind}")]
    if (lengths := LENGTHS.get(launch.speculation)) is None:
        return
    if match := int(launch.number("ngram_match")):
        _assign(params, lengths.match[1], match)
    if most := int(launch.number("ngram_draft")):
        _assign(params, lengths.most[1], most)
        if lengths.least[1]:
            _assign(params, lengths.least[1], min(LEAST_GUESSED, most))


def _set(xllamacpp: Any, params: Any, row: Row, launch: Launch) -> None:
    value = launch.values[row.setting]
    if value == default(row.setting):
        return
    if row.enum:
        kind, _, prefix = row.enum.partition(":")
        value = getattr(getattr(xllamacpp, kind), prefix + str(value).upper())
    elif isinstance(value, bool):
        value = (not value) if row.field.startswith("no_") else value
    _assign(params, row.field, value)


def _assign(params: Any, field: str, value: Any) -> None:
    *path, last = field.split(".")
    for name in path:
        params = getattr(params, name)
    setattr(params, last, value)
