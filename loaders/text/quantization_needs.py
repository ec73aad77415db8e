"""Which Python packages Transformers needs for a model that comes quantised (GPTQ, AWQ …), known without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Need:
    """What a way of quantising asks for: packages, and kinds of device; () = any."""

    packages: tuple[str, ...]
    devices: tuple[str, ...] = ()


READY_MADE: Mapping[str, Need] = {
    "gptq": Need(("optimum", "gptqmodel")),
    "awq": Need(("gptqmodel",)),
    "bitsandbytes": Need(("bitsandbytes",)),
    "compressed-tensors": Need(("compressed_tensors",)),
    "hqq": Need(("hqq",)),
    "torchao": Need(("torchao",)),
    "quanto": Need(("optimum", "quanto")),
    "aqlm": Need(("aqlm",), ("cuda",)),
    "eetq": Need(("kernels",), ("cuda",)),
    "vptq": Need(("vptq",), ("cuda",)),
    "fbgemm_fp8": Need(("fbgemm_gpu",), ("cuda",)),
    "mxfp4": Need(()),
    "fp8": Need(()),
}
PIP_NAMES = {"compressed_tensors": "compressed-tensors", "quanto": "optimum-quanto", "fbgemm_gpu": "fbgemm-gpu"}


def packages_of(formats: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """For LoaderSpec.format_needs: format → module → what pip calls it."""
    return {
        fmt: {name: PIP_NAMES.get(name, name) for name in READY_MADE[fmt].packages} for fmt in formats
        if fmt in READY_MADE
    }  # fmt: skip
