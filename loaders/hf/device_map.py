"""Where a model goes: device, number type, the share of each memory; each choice with its reason."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil
import torch

from modules.errors import LoadFailed
from modules.types import Decision, ParamValue

_MEMORY = re.compile(r"(\w+)\s*[=:]\s*(\d+(?:\.\d+)?)\s*([KMGT]i?B)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Place:
    """device: where everything goes, or where the work begins; spread: accelerate's strategy, "" = one device."""

    device: torch.device
    why: str
    spread: str
    max_memory: Mapping[int | str, str] | None


def choose_place(settings: Mapping[str, ParamValue]) -> Place:
    """The device and how to spread over more. Raises LoadFailed for a device that is not there."""
    chosen = choose_device(str(settings["device"]))
    spread = str(settings["device_map"])
    memory = read_memory(str(settings["max_memory"]))
    if spread == "off" and (memory or settings["disk_offload"]):
        spread = "auto"
    if spread != "off" and memory is None:
        memory = free_memory(chosen.value, bool(settings["disk_offload"]))
    return Place(torch.device(chosen.value), chosen.why, "" if spread == "off" else spread, memory)


def choose_device(wanted: str) -> Decision[str]:
    """A kind of device that is there. Raises LoadFailed."""
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "xpu": hasattr(torch, "xpu") and torch.xpu.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        found = next(kind for kind, is_there in there.items() if is_there)
        why = "no graphics card PyTorch can use was found" if found == "cpu" else "it is there"
        return Decision(found, f"Chosen, because {why}.")
    if there.get(wanted):
        return Decision(wanted, "It was asked for.")
    build = "" if torch.version.cuda or torch.version.hip else " The PyTorch that is installed is a build without CUDA."
    raise LoadFailed(f"PyTorch finds no {wanted} device here.{build if wanted == 'cuda' else ''}",
                     hint="Choose device cpu or auto, or install a PyTorch for this machine.")  # fmt: skip


def read_memory(text: str) -> Mapping[int | str, str] | None:
    """`0=20GiB, cpu=64GiB` as accelerate takes it; None for an empty text. Raises LoadFailed."""
    if not text.strip():
        return None
    out: dict[int | str, str] = {}
    for item in re.split(r"[,;\n]", text):
        if not item.strip():
            continue
        match = _MEMORY.fullmatch(item.strip())
        if match is None or not (match[1].isdigit() or match[1].lower() in ("cpu", "mps", "disk")):
            raise LoadFailed(f"max_memory has {item.strip()!r}, which is no device with an amount.",
                             hint="Write it like this: 0=20GiB, 1=10GiB, cpu=64GiB")  # fmt: skip
        unit = match[3][0].upper() + "iB" if match[3][1].lower() == "i" else match[3].upper()
        out[int(match[1]) if match[1].isdigit() else match[1].lower()] = f"{match[2]}{unit}"
    return out


def free_memory(device: str, disk: bool) -> Mapping[int | str, str] | None:
    """What is free, less what the work itself needs; without disk offload memory is not limited."""
    if not disk:
        return None
    out: dict[int | str, str] = {"cpu": f"{int(psutil.virtual_memory().available * 0.8)}B"}
    if device == "cuda":
        for number in range(torch.cuda.device_count()):
            out[number] = f"{int(torch.cuda.mem_get_info(number)[0] * 0.85)}B"
    return out


def choose_dtype(wanted: str, stored: Any, device: torch.device) -> Decision[torch.dtype]:
    """The number type of the weights. `stored` is the checkpoint's, None when it does not say."""
    types = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if wanted in types:
        return Decision(types[wanted], "It was asked for.")
    if isinstance(stored, str):
        stored = types.get(stored.removeprefix("torch."))
    if not isinstance(stored, torch.dtype) or not stored.is_floating_point:
        return Decision(torch.float32, "The files do not say how they are stored.")
    if device.type == "cpu" and stored == torch.float16:
        return Decision(torch.bfloat16, "The files are float16, which processors compute slowly.")
    return Decision(stored, "It is how the files are stored.")


def set_threads(wanted: int) -> int:
    """Processor threads, one per physical core unless told otherwise: more only wait for each other."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = wanted or min(psutil.cpu_count(logical=False) or allowed, allowed)
    torch.set_num_threads(count)
    return count
