"""Which quantisation a folder has: from its config, and from its tensors where the config lies or is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from modules.formats.detect import detect
from tests.model_maker import LLAMA_CONFIG, LLAMA_TENSORS, Tensors, hf_folder

P = "model.layers.0.self_attn.q_proj"
GPTQ: Tensors = {f"{P}.qweight": ("I32", (8, 64)), f"{P}.qzeros": ("I32", (1, 8)), f"{P}.scales": ("F16", (1, 64)),
                 f"{P}.g_idx": ("I32", (64,))}  # fmt: skip
AWQ: Tensors = {f"{P}.qweight": ("I32", (64, 8)), f"{P}.qzeros": ("I32", (1, 8)), f"{P}.scales": ("F16", (1, 64))}
EXL2: Tensors = {f"{P}.q_weight": ("I32", (8, 64)), f"{P}.q_scale": ("I32", (1, 8)), f"{P}.q_groups": ("I16", (4,))}
EXL3: Tensors = {f"{P}.trellis": ("I16", (4, 4, 64)), f"{P}.suh": ("F16", (64,)), f"{P}.svh": ("F16", (64,))}
NF4: Tensors = {f"{P}.weight": ("U8", (2048, 1)), f"{P}.weight.absmax": ("F32", (64,)),
                f"{P}.weight.quant_map": ("F32", (16,)),
                f"{P}.weight.quant_state.bitsandbytes__nf4": ("U8", (80,))}  # fmt: skip
INT8: Tensors = {f"{P}.weight": ("I8", (64, 64)), f"{P}.SCB": ("F32", (64,))}
FP8: Tensors = {f"{P}.weight": ("F8_E4M3", (64, 64)), f"{P}.weight_scale_inv": ("F32", (1, 1))}
PACKED: Tensors = {f"{P}.weight_packed": ("I32", (64, 8)), f"{P}.weight_scale": ("F16", (64, 1)),
                   f"{P}.weight_shape": ("I64", (2,))}  # fmt: skip
MXFP4: Tensors = {"model.layers.0.mlp.experts.up_proj_blocks": ("U8", (2, 64, 2, 16)),
                  "model.layers.0.mlp.experts.up_proj_scales": ("U8", (2, 64, 2))}  # fmt: skip
HQQ: Tensors = {f"{P}.W_q": ("U8", (64, 32)), f"{P}.scale": ("F16", (64, 1)), f"{P}.zero": ("F16", (64, 1))}
MLX: Tensors = {f"{P}.weight": ("U32", (64, 8)), f"{P}.scales": ("BF16", (64, 1)), f"{P}.biases": ("BF16", (64, 1))}
NORM: Tensors = {"model.norm.weight": ("F16", (64,))}


def facts(folder: Path, tensors: Tensors, config: Mapping[str, Any] | None = None, **files: str) -> Any:
    whole = {**LLAMA_CONFIG, **({} if config is None else {"quantization_config": config})}
    return detect(hf_folder(folder / "m", config=whole, tensors={**NORM, **tensors}, **files))


@pytest.mark.parametrize(
    ("tensors", "config", "fmt", "quant"),
    [
        (GPTQ, {"quant_method": "gptq", "bits": 4, "group_size": 128}, "gptq", "GPTQ 4 bit, groups of 128"),
        (GPTQ, {"quant_method": "gptq_marlin", "bits": 4, "group_size": -1}, "gptq", "GPTQ 4 bit"),
        (AWQ, {"quant_method": "awq", "bits": 4, "group_size": 64}, "awq", "AWQ 4 bit, groups of 64"),
        (EXL2, {"quant_method": "exl2", "bits": 4.25}, "exl2", "EXL2 4.25 bpw"),
        (EXL3, {"quant_method": "exl3", "bits": 3.5}, "exl3", "EXL3 3.5 bpw"),
        (NF4, {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
         "bitsandbytes", "nf4"),
        (INT8, {"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes", "int8"),
        (FP8, {"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8", "FP8"),
        (FP8, {"quant_method": "fbgemm_fp8"}, "fp8", "FP8"),
        (PACKED, {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4}}}},
         "compressed-tensors", "compressed-tensors 4 bit"),
        (MXFP4, {"quant_method": "mxfp4"}, "mxfp4", "MXFP4"),
        (HQQ, {"quant_method": "hqq", "nbits": 4}, "hqq", "HQQ 4 bit"),
        (LLAMA_TENSORS, {"quant_method": "torchao"}, "torchao", "torchao"),
        (LLAMA_TENSORS, None, "safetensors", "bfloat16"),
    ],
)  # fmt: skip
def test_the_config_names_the_quantisation(
    tmp_path: Path, tensors: Tensors, config: Mapping[str, Any] | None, fmt: str, quant: str
) -> None:
    found = facts(tmp_path, tensors, config)
    assert (found.format, found.quant, found.reason) == (fmt, quant, "")


@pytest.mark.parametrize(
    ("tensors", "fmt"),
    [(GPTQ, "gptq"), (AWQ, "awq"), (EXL2, "exl2"), (EXL3, "exl3"), (NF4, "bitsandbytes"), (INT8, "bitsandbytes"),
     (FP8, "fp8"), (PACKED, "compressed-tensors"), (MXFP4, "mxfp4"), (HQQ, "hqq"), (MLX, "mlx")],
)  # fmt: skip
def test_without_a_word_in_the_config_the_tensors_tell(tmp_path: Path, tensors: Tensors, fmt: str) -> None:
    assert facts(tmp_path, tensors).format == fmt


def test_a_config_that_lies_is_not_believed(tmp_path: Path) -> None:
    assert facts(tmp_path, EXL3, {"quant_method": "gptq", "bits": 4}).format == "exl3"
    plain = facts(tmp_path, LLAMA_TENSORS, {"quant_method": "gptq", "bits": 4})
    assert plain.format == "gptq"
    assert "says that it is quantised (gptq), but its weights are not" in plain.reason


def test_quantisers_that_write_a_file_of_their_own_are_heard(tmp_path: Path) -> None:
    beside = json.dumps({"bits": 3, "group_size": 32})
    found = facts(tmp_path, GPTQ, None, quantize_config__json=beside)
    assert (found.format, found.quant, found.extra["bits"]) == ("gptq", "GPTQ 3 bit, groups of 32", 3.0)
    nvidia = json.dumps({"quantization": {"quant_algo": "NVFP4"}})
    (tmp_path / "n").mkdir()
    found = facts(tmp_path / "n", LLAMA_TENSORS, None, hf_quant_config__json=nvidia)
    assert (found.format, found.quant) == ("modelopt", "NVFP4")


@pytest.mark.parametrize(
    ("tensors", "config", "count"),
    [
        (GPTQ, {"quant_method": "gptq", "bits": 4}, 64 * 64),
        (AWQ, {"quant_method": "awq", "bits": 4}, 64 * 64),
        (PACKED, {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4}}}}, 64 * 64),
        (FP8, {"quant_method": "fp8"}, 64 * 64),
        (MXFP4, {"quant_method": "mxfp4"}, 2 * 64 * 2 * 32),
        (EXL2, {"quant_method": "exl2", "bits": 4.25}, None),
    ],
)
def test_weights_are_counted_as_the_model_has_them(
    tmp_path: Path, tensors: Tensors, config: Mapping[str, Any], count: int | None
) -> None:
    found = facts(tmp_path, tensors, config).parameters
    assert found == (None if count is None else count + 64)


def test_a_part_for_text_may_name_the_quantisation(tmp_path: Path) -> None:
    config = {**LLAMA_CONFIG, "text_config": {"quantization_config": {"quant_method": "awq", "bits": 4}}}
    found = detect(hf_folder(tmp_path / "m", config=config, tensors={**NORM, **AWQ}))
    assert found.format == "awq"


DOUBLE: Tensors = {f"{P}.weight": ("U8", (2048, 1)), f"{P}.weight.absmax": ("U8", (64,)),
                   f"{P}.weight.nested_absmax": ("F32", (1,)), f"{P}.weight.nested_quant_map": ("F32", (256,)),
                   f"{P}.weight.quant_map": ("F32", (16,)),
                   f"{P}.weight.quant_state.bitsandbytes__nf4": ("U8", (80,))}  # fmt: skip


@pytest.mark.parametrize("tensors", [NF4, DOUBLE, INT8])
def test_bitsandbytes_keeps_its_own_numbers_beside_the_weights(tmp_path: Path, tensors: Tensors) -> None:
    assert facts(tmp_path, tensors).parameters == 64 * 64 + 64
