"""Names the model files of 2023 that came before GGUF, from the numbers they begin with, with the way to convert.

Sources: ggml's examples of that time (gpt-2, gpt-j, gpt-neox, mpt, replit, starcoder), llama.cpp before August 2023,
rwkv.cpp, whisper.cpp, ggllm.cpp. None of them writes its architecture down, so it is read from how the numbers fit.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from modules.formats.facts import ModelFacts

_MAGICS = {
    b"lmgg": "GGML", b"fmgg": "GGMF", b"tjgg": "GGJT", b"algg": "GGLA", b"ccgg": "GGCC", b"nsgg": "GGSN",
    b"qsgg": "GGSQ",
}  # fmt: skip
_FILE_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    4: "Q4_1 + F16",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
}
_RWKV_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    4: "Q4_1_O",
    5: "Q4_2",
    6: "Q4_3",
    7: "Q5_0",
    8: "Q5_1",
    9: "Q8_0",
}
_NEED = 48
_KOBOLD = "KoboldCpp still opens it, and can be used from here as an endpoint."
_BY_LLAMA = "Get the model as GGUF, or convert it with convert_llama_ggml_to_gguf.py of llama.cpp."
_FROM_ORIGINAL = (
    "Get the model as GGUF, or get the original model and convert that with convert_hf_to_gguf.py of llama.cpp. "
    + _KOBOLD
)
_FROM_TRANSFORMERS = "Get the original model as safetensors: the Transformers loader opens it. " + _KOBOLD


@dataclass(frozen=True, slots=True)
class _Guess:
    """An architecture and where its numbers stand: indices of vocabulary, context, width, heads, layers, file type."""

    arch: str
    title: str
    hint: str
    at: tuple[int, int | None, int, int, int, int]


_LLAMA = _Guess("llama", "LLaMA", _BY_LLAMA, (0, None, 1, 3, 4, 6))
_BLOOM = _Guess("bloom", "BLOOM", _FROM_ORIGINAL, (0, None, 1, 3, 4, 5))
_GPTJ = _Guess("gptj", "GPT-J", _FROM_TRANSFORMERS, (0, 1, 2, 3, 4, 6))
_NEOX = _Guess("gptneox", "GPT-NeoX, StableLM, Pythia or Dolly", _FROM_ORIGINAL, (0, 1, 2, 3, 4, 7))
_GPT2 = _Guess("gpt2", "GPT-2", _FROM_ORIGINAL, (0, 1, 2, 3, 4, 5))
_STARCODER = _Guess("starcoder", "StarCoder", _FROM_ORIGINAL, (0, 1, 2, 3, 4, 5))
_MPT = _Guess("mpt", "MPT", _FROM_ORIGINAL, (4, 1, 0, 2, 3, 7))
_REPLIT = _Guess("replit", "Replit", _FROM_ORIGINAL, (4, 1, 0, 2, 3, 5))
_FALCON = _Guess("falcon", "Falcon", _FROM_ORIGINAL, (0, None, 1, 2, 4, 6))


def is_old_ggml(start: bytes) -> bool:
    """Whether a file that begins with `start` is one of these."""
    return start[:4] in _MAGICS


def old_ggml_facts(start: bytes, size: int) -> ModelFacts:
    """What the file of `size` bytes that begins with `start` is; it always has a reason."""
    magic, name = start[:4], _MAGICS.get(start[:4], "GGML")
    if magic == b"algg":
        return ModelFacts(
            "ggml",
            "adapter",
            size=size,
            reason="This is a LoRA adapter in the old GGLA format, which no current engine opens.",
            hint="Get the adapter as GGUF or as a PEFT folder (convert_lora_to_gguf.py of llama.cpp).",
        )
    if magic in (b"nsgg", b"qsgg"):
        return ModelFacts("ggml", "other", size=size, reason="This is a saved session of llama.cpp, not a model.")
    numbers = _numbers(start[4:] if magic == b"lmgg" else start[8:])
    version = int.from_bytes(start[4:8], "little")
    if magic == b"fmgg" and 100 <= version <= 110:
        return _rwkv(_numbers(start[8:]), size)
    if magic == b"lmgg" and numbers[1] == 1500 and numbers[5] == 448:
        return ModelFacts(
            "ggml",
            "speech",
            "whisper",
            size=size,
            vocabulary=numbers[0],
            reason="This is a Whisper model, which turns speech into text; it is no chat model.",
        )
    guess = _guess(magic, numbers)
    if guess is None:
        return ModelFacts(
            "ggml",
            size=size,
            reason=f"This is in the old {name} format, which no current engine opens.",
            hint=_BY_LLAMA + " " + _KOBOLD,
        )
    vocabulary, context, hidden, heads, layers, kind = (None if at is None else numbers[at] for at in guess.at)
    assert heads  # a guess is made only where the heads divide something
    return ModelFacts(
        "ggml", arch=guess.arch, size=size, quant=_FILE_TYPES.get((kind or 0) % 1000, ""), context_length=context,
        layers=layers, hidden=hidden, heads=heads, vocabulary=vocabulary,
        reason=f"This is a {guess.title} model in the old {name} format, which no current engine opens.",
        hint=guess.hint,
    )  # fmt: skip


def _numbers(raw: bytes) -> tuple[int, ...]:
    return struct.unpack("<12i", raw[:_NEED].ljust(_NEED, b"\0"))


def _plausible(*heads_hidden_layers: int) -> bool:
    heads, hidden, layers = heads_hidden_layers
    return 1 <= heads <= 256 and 1 <= layers <= 200 and 64 <= hidden <= 32_768 and hidden % heads == 0


def _guess(magic: bytes, v: tuple[int, ...]) -> _Guess | None:
    """The architecture whose order makes sense of the numbers `v`; files of two families look alike by chance only."""
    if magic == b"ccgg" and _plausible(v[2], v[1], v[4]):
        return _FALCON
    if _plausible(v[3], v[1], v[4]) and v[5] == v[1] // v[3]:
        return _LLAMA
    if magic != b"lmgg":
        return _FALCON if _plausible(v[2], v[1], v[4]) and v[3] <= v[2] else None
    if _plausible(v[3], v[2], v[4]) and v[1] >= 64:
        if v[6] == v[0]:
            return _STARCODER if v[0] in range(49_152, 49_300) else _GPT2
        if v[7] == v[0] and v[5] <= v[2] // v[3]:
            return _GPTJ
        if v[6] in (0, 1) and 0 < v[5] <= v[2] // v[3]:
            return _NEOX
    if _plausible(v[2], v[0], v[3]) and v[4] > 1000:
        return _REPLIT if v[6] == v[4] or (v[5] in _FILE_TYPES and v[7] not in _FILE_TYPES) else _MPT
    if _plausible(v[3], v[1], v[4]) and v[0] > 1000:
        return _BLOOM
    return None


def _rwkv(v: tuple[int, ...], size: int) -> ModelFacts:
    return ModelFacts(
        "ggml", arch="rwkv", size=size, vocabulary=v[0], hidden=v[1], layers=v[2], quant=_RWKV_TYPES.get(v[3], ""),
        reason="This is an RWKV model in the format of rwkv.cpp, which no engine here opens.",
        hint="RWKV 6 and 7 exist as GGUF; older ones can be converted from the original for rwkv.cpp only. " + _KOBOLD,
    )  # fmt: skip
