"""Which build of the llama.cpp engine fits this machine, and why.

The binding (xllamacpp) has its CPU builds (macOS: with Metal) on the default package index and its
CUDA, ROCm and Vulkan builds on an index of its own. Which GPU and which driver each of them runs on
is in the tables below, from the binding's README, sections "CUDA GPU Architecture Coverage", "ROCm
(HIP) GPU Architecture Coverage" and "Prerequisites", and NVIDIA's table of driver versions
(docs.nvidia.com/deploy/cuda-compatibility).
"""

from __future__ import annotations

from dataclasses import dataclass

from modules.launcher.chosen import Chosen
from modules.launcher.machine import Machine, NvidiaGpu, Version

ENGINE_KINDS = ("cpu", "cuda", "rocm", "vulkan", "metal")
ENGINE_INDEX = "https://xorbitsai.github.io/xllamacpp/whl"
GPU_WHEELS_GLIBC = (2, 35)


@dataclass(frozen=True, slots=True)
class CudaWheel:
    """One CUDA build. Compute capabilities are written without the dot (8.6 → 86).

    family_driver   oldest driver that runs code compiled for a GPU (`native`)
    toolkit_driver  oldest driver that can translate the portable code, for GPUs from `portable_from` up
    """

    index: str
    native: frozenset[int]
    portable_from: int
    family_driver: int
    toolkit_driver: int

    def runs_on(self, gpu: NvidiaGpu, driver: Version) -> bool:
        if gpu.compute is None:
            return driver[0] >= self.toolkit_driver
        level = gpu.compute[0] * 10 + gpu.compute[1]
        if level in self.native and driver[0] >= self.family_driver:
            return True
        return level >= self.portable_from and driver[0] >= self.toolkit_driver


# Newest first; the first one that runs on most of the GPUs is taken.
CUDA_WHEELS = (
    CudaWheel("cu132", frozenset({75, 86, 89, 120, 121}), 80, 580, 595),
    CudaWheel("cu128", frozenset({86, 89, 120}), 50, 525, 570),
)
OLDEST_CUDA_DRIVER = 525

# ROCm's major version is its ABI; a build runs on no other.
_RDNA_2_3 = frozenset({"gfx1030", "gfx1031", "gfx1032", "gfx1100", "gfx1101", "gfx1102"})
ROCM_WHEELS = {
    7: ("rocm-7.2.4", _RDNA_2_3 | {"gfx1150", "gfx1151", "gfx1200", "gfx1201", "gfx950"}),
    6: ("rocm-6.4.1", _RDNA_2_3),
}


@dataclass(frozen=True, slots=True)
class EngineBuild:
    """One build of the engine. `index` is its folder below ENGINE_INDEX; "" = the default package index."""

    kind: str
    index: str = ""


CPU = EngineBuild("cpu")


def choose_engine(machine: Machine, asked: str) -> Chosen[EngineBuild]:
    """The build for this machine. `asked` is "auto" or a kind; a kind is taken unless it cannot exist here."""
    if asked == "cpu":
        return Chosen(CPU, "you asked for it")
    if asked == "metal":
        return _metal(machine)
    if asked == "cuda":
        return _asked_cuda(machine)
    if asked == "rocm":
        return _asked_rocm(machine)
    if asked == "vulkan":
        return Chosen(EngineBuild("vulkan", "vulkan"), "you asked for it")
    return _auto(machine)


def missing_avx2(machine: Machine) -> str:
    """A warning for x86 processors that the engine's builds do not run on, or ""."""
    if machine.avx2 is False:
        return (
            "This processor has no AVX2, which the engine's ready-made builds need: GGUF models will not run. "
            "Other loaders may (python3 start.py install transformers), or point the server at a llama-server "
            "that you built yourself."
        )
    return ""


def _auto(machine: Machine) -> Chosen[EngineBuild]:
    if machine.system == "Darwin":
        if machine.arch == "arm64":
            return _metal(machine)
        return Chosen(CPU, "an Intel Mac: llama.cpp runs best on its processor (--engine vulkan to try the GPU)")
    if machine.nvidia_driver is not None:
        return _needs_glibc(machine, _cuda(machine, machine.nvidia_driver))
    if machine.nvidia_error:
        return Chosen(CPU, f"nvidia-smi is there but reports: {machine.nvidia_error}")
    if "nvidia" in machine.vendors and not machine.vendors & {"amd", "intel"}:
        return Chosen(CPU, "there is an NVIDIA GPU but no NVIDIA driver; install it, then use --engine auto")
    if "amd" in machine.vendors or machine.gfx:
        return _needs_glibc(machine, _amd(machine))
    if "intel" in machine.vendors:
        return _needs_glibc(machine, _vulkan(machine, "intel", "an Intel GPU"))
    return Chosen(CPU, "no GPU was found")


def _metal(machine: Machine) -> Chosen[EngineBuild]:
    if machine.system == "Darwin" and machine.arch == "arm64":
        return Chosen(EngineBuild("metal"), "an Apple GPU: the default build has Metal inside")
    return Chosen(CPU, "Metal is there on Macs with Apple silicon only")


def _cuda(machine: Machine, driver: Version) -> Chosen[EngineBuild]:
    names = ", ".join(dict.fromkeys(gpu.name for gpu in machine.nvidia_gpus))
    shown = ".".join(str(part) for part in driver)
    if driver[0] < OLDEST_CUDA_DRIVER:
        return Chosen(
            CPU,
            f"{names}: the NVIDIA driver {shown} is too old, CUDA builds need {OLDEST_CUDA_DRIVER} or newer; "
            "update it, then use --engine auto",
        )
    best = max(CUDA_WHEELS, key=lambda wheel: sum(wheel.runs_on(gpu, driver) for gpu in machine.nvidia_gpus))
    if not any(best.runs_on(gpu, driver) for gpu in machine.nvidia_gpus):
        floor = min(wheel.portable_from for wheel in CUDA_WHEELS)
        if all(gpu.compute and gpu.compute[0] * 10 + gpu.compute[1] < floor for gpu in machine.nvidia_gpus):
            return Chosen(CPU, f"{names}: older than any GPU the CUDA builds cover (compute capability 5.0)")
        needed = min(wheel.toolkit_driver for wheel in CUDA_WHEELS)
        return Chosen(
            CPU,
            f"{names}: the CUDA builds need the NVIDIA driver {needed} or newer for this GPU and this is {shown}; "
            "update it, then use --engine auto",
        )
    return Chosen(EngineBuild("cuda", best.index), f"{names} with NVIDIA driver {shown}")


def _amd(machine: Machine) -> Chosen[EngineBuild]:
    if machine.rocm is not None and machine.system == "Linux" and machine.arch == "x86_64":
        shown = ".".join(str(part) for part in machine.rocm[:3])
        index, targets = ROCM_WHEELS.get(machine.rocm[0], ("", frozenset[str]()))
        fits = [target for target in machine.gfx if target in targets]
        if fits:
            return Chosen(EngineBuild("rocm", index), f"an AMD GPU ({fits[0]}) with ROCm {shown}")
        what = ", ".join(machine.gfx) or "its GPU"
        return _vulkan(machine, "amd", f"an AMD GPU; no ROCm build covers {what} with ROCm {shown}")
    return _vulkan(machine, "amd", "an AMD GPU without ROCm")


def _vulkan(machine: Machine, maker: str, what: str) -> Chosen[EngineBuild]:
    if machine.system == "Linux" and machine.arch != "x86_64":
        return Chosen(CPU, f"{what}, but there is no Vulkan build for {machine.arch}")
    if maker not in machine.vulkan:
        hint = " (Debian, Ubuntu: apt install mesa-vulkan-drivers)" if machine.system == "Linux" else ""
        return Chosen(CPU, f"{what}, but no Vulkan driver for it{hint}; install it, then use --engine auto")
    if not machine.render_access:
        return Chosen(
            CPU,
            f"{what}, but this account may not use /dev/dri: add it to the group 'render', log in again, "
            "then use --engine auto",
        )
    return Chosen(EngineBuild("vulkan", "vulkan"), f"{what}, with a Vulkan driver")


def _needs_glibc(machine: Machine, chosen: Chosen[EngineBuild]) -> Chosen[EngineBuild]:
    """GPU builds for Linux need a newer C library than the CPU build does."""
    if chosen.value.index and machine.system == "Linux":
        if machine.glibc is None:
            return Chosen(CPU, f"{chosen.why}, but the GPU builds need glibc, which this Linux does not use")
        if machine.glibc < GPU_WHEELS_GLIBC:
            have = ".".join(str(part) for part in machine.glibc)
            return Chosen(CPU, f"{chosen.why}, but the GPU builds need glibc 2.35 and this system has {have}")
    return chosen


def _asked_cuda(machine: Machine) -> Chosen[EngineBuild]:
    if machine.system == "Darwin":
        return Chosen(CPU, "there is no CUDA on a Mac")
    if machine.nvidia_driver is not None:
        return _cuda(machine, machine.nvidia_driver)
    return Chosen(EngineBuild("cuda", CUDA_WHEELS[-1].index), "you asked for it, though no NVIDIA driver was found")


def _asked_rocm(machine: Machine) -> Chosen[EngineBuild]:
    if machine.system != "Linux":
        return Chosen(CPU, "there are ROCm builds for Linux only; --engine vulkan works with AMD GPUs elsewhere")
    major = machine.rocm[0] if machine.rocm is not None else max(ROCM_WHEELS)
    if major not in ROCM_WHEELS:
        known = " and ".join(str(number) for number in sorted(ROCM_WHEELS))
        return Chosen(CPU, f"there are builds for ROCm {known}, not {major}; --engine vulkan may work")
    return Chosen(EngineBuild("rocm", ROCM_WHEELS[major][0]), "you asked for it")
