"""What an engine's library itself sees of the machine: `python -m modules.engine.device_probe torch|xllamacpp`.

The server imports no engine, and a build for the processor computes on the processor whatever card is in the machine.
So a short-lived process asks the library and prints one line of JSON. Whoever starts it sets a time limit.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

Answer = dict[str, Any]


def from_torch(torch: Any) -> Answer:
    """The backends of this build of torch that find a device, and those devices."""
    devices: list[Answer] = []
    if torch.cuda.is_available():
        kind = "rocm" if getattr(torch.version, "hip", None) else "cuda"
        for index in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(index)
            arch = str(getattr(facts, "gcnArchName", "")).split(":")[0]
            capability = arch if kind == "rocm" else f"{facts.major}.{facts.minor}"
            devices.append(_device(kind, index, facts.name, int(facts.total_memory), capability))
    mps = getattr(torch.backends, "mps", None)
    if mps is not None and mps.is_available():
        devices.append(_device("metal", 0, "Apple GPU", None))
    xpu = getattr(torch, "xpu", None)
    if xpu is not None and xpu.is_available():
        for index in range(xpu.device_count()):
            facts = xpu.get_device_properties(index)
            devices.append(_device("xpu", index, facts.name, int(facts.total_memory)))
    return {"version": str(torch.__version__), "devices": devices}


def from_llama(library: Any) -> Answer:
    """The devices llama.cpp's build can compute on."""
    devices: list[Answer] = []
    for one in library.get_device_info():
        name = str(one.get("name", ""))
        kind = next((kind for start, kind in _LLAMA_KINDS if name.upper().startswith(start)), None)
        if kind is not None:
            index = int("".join(sign for sign in name if sign.isdigit()) or 0)
            devices.append(_device(kind, index, str(one.get("description") or name), one.get("memory_total")))
    return {"version": str(getattr(library, "__version__", "")), "devices": devices}


_LLAMA_KINDS = (("CUDA", "cuda"), ("ROCM", "rocm"), ("HIP", "rocm"), ("METAL", "metal"), ("MTL", "metal"),
                ("VULKAN", "vulkan"), ("SYCL", "xpu"))  # fmt: skip


def _device(kind: str, index: int, name: str, total: int | None, capability: str = "") -> Answer:
    return {"kind": kind, "index": index, "name": name, "total": total, "capability": capability}


_READERS = {"torch": from_torch, "xllamacpp": from_llama}


def main(name: str) -> int:
    """Print what the library sees. A library that cannot be imported is an answer too."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a C library prints is not the answer
    try:
        answer = _READERS[name](importlib.import_module(name))
    except Exception as error:  # whatever a library raises at import is what there is to say
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), file=out, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
