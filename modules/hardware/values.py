"""What this machine computes with: processor, memory and graphics devices, as far as it can be known.

The server imports no torch; what only torch can say comes from a worker. A part that cannot be read is missing here
and named in `unknown`: a choice made from a partial picture says so.
"""

from __future__ import annotations

from dataclasses import dataclass

CPU, CUDA, ROCM, METAL, VULKAN, XPU = "cpu", "cuda", "rocm", "metal", "vulkan", "xpu"
"""Kinds of device, as LoaderSpec.hardware and estimates name them."""


@dataclass(frozen=True, slots=True)
class Device:
    """One device that can hold weights. `index` counts within its kind; memory in bytes, None when unknown.

    capability  what decides which kernels run: "9.0" for CUDA, "gfx1100" for ROCm, "" otherwise
    """

    kind: str
    index: int
    name: str
    total: int | None
    free: int | None
    capability: str = ""


@dataclass(frozen=True, slots=True)
class Hardware:
    """The machine. `devices` holds graphics devices only; memory in bytes.

    cpu_features  instruction sets by the kernel's names ("avx2", "avx512f", "neon"); () when unknown
    unknown       sentences about what could not be read
    """

    cores: int
    ram_total: int
    ram_free: int
    devices: tuple[Device, ...] = ()
    cpu_features: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def of_kind(self, *kinds: str) -> tuple[Device, ...]:
        """The graphics devices of these kinds."""
        return tuple(device for device in self.devices if device.kind in kinds)
