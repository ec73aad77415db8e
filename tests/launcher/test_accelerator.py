"""Which engine build is chosen, for machines we do not have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modules.launcher.accelerator import CUDA_WHEELS, EngineBuild, choose_engine, missing_avx2
from modules.launcher.machine import Machine, NvidiaGpu

LINUX = Machine("Linux", "x86_64", glibc=(2, 39), avx2=True)
WINDOWS = Machine("Windows", "x86_64")
RTX_4090 = NvidiaGpu("NVIDIA GeForce RTX 4090", (8, 9))
A100 = NvidiaGpu("NVIDIA A100", (8, 0))
V100 = NvidiaGpu("Tesla V100", (7, 0))
GB10 = NvidiaGpu("NVIDIA GB10", (12, 1))
K80 = NvidiaGpu("Tesla K80", (3, 7))
UNKNOWN = NvidiaGpu("NVIDIA GPU", None)


def nvidia(driver: tuple[int, ...], *gpus: NvidiaGpu) -> Machine:
    return replace(LINUX, nvidia_driver=driver, nvidia_gpus=gpus)


@pytest.mark.parametrize(
    ("machine", "index"),
    [
        (nvidia((595, 10), RTX_4090), "cu132"),
        (nvidia((580, 65, 6), RTX_4090), "cu132"),  # native code runs on any driver of the CUDA 13 family
        (nvidia((580, 65, 6), A100), "cu128"),  # the portable code of the 13.2 build needs a 595 driver
        (nvidia((595, 10), A100), "cu132"),
        (nvidia((570, 26), A100), "cu128"),
        (nvidia((535, 54), RTX_4090), "cu128"),
        (nvidia((595, 10), V100), "cu128"),  # CUDA 13 has dropped Volta
        (nvidia((580, 95), GB10), "cu132"),
        (nvidia((570, 26), UNKNOWN), "cu128"),
        (nvidia((595, 10), V100, V100, RTX_4090), "cu128"),  # the build that serves most of the GPUs
    ],
)
def test_the_cuda_build_fits_gpu_and_driver(machine: Machine, index: str) -> None:
    assert choose_engine(machine, "auto").value == EngineBuild("cuda", index)


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (nvidia((470, 82), RTX_4090), "470.82 is too old"),
        (nvidia((550, 54), A100), "need the NVIDIA driver 570 or newer"),
        (nvidia((580, 65), K80), "older than any GPU"),
        (replace(nvidia((595, 10), RTX_4090), glibc=(2, 31)), "glibc 2.35 and this system has 2.31"),
        (replace(nvidia((595, 10), RTX_4090), glibc=None), "does not use"),
        (replace(LINUX, nvidia_error="couldn't communicate with the NVIDIA driver"), "couldn't communicate"),
        (replace(LINUX, vendors=frozenset({"nvidia"})), "no NVIDIA driver"),
        (LINUX, "no GPU was found"),
        (replace(LINUX, vendors=frozenset({"intel"})), "no Vulkan driver"),
        (
            replace(LINUX, vendors=frozenset({"intel"}), vulkan=frozenset({"intel"}), render_access=False),
            "group 'render'",
        ),
        (Machine("Darwin", "x86_64"), "Intel Mac"),
    ],
)
def test_the_cpu_build_is_taken_with_the_reason(machine: Machine, words: str) -> None:
    chosen = choose_engine(machine, "auto")
    assert chosen.value == EngineBuild("cpu")
    assert words in chosen.why


def test_amd_with_rocm_takes_the_build_of_its_major_version() -> None:
    machine = replace(LINUX, vendors=frozenset({"amd"}), rocm=(7, 14, 0), gfx=("gfx1151",))
    assert choose_engine(machine, "auto").value == EngineBuild("rocm", "rocm-7.2.4")
    machine = replace(machine, rocm=(6, 4, 1), gfx=("gfx1100",))
    assert choose_engine(machine, "auto").value == EngineBuild("rocm", "rocm-6.4.1")


def test_amd_that_no_rocm_build_covers_takes_vulkan() -> None:
    machine = replace(LINUX, vendors=frozenset({"amd"}), rocm=(6, 4, 1), gfx=("gfx1151",), vulkan=frozenset({"amd"}))
    chosen = choose_engine(machine, "auto")
    assert chosen.value == EngineBuild("vulkan", "vulkan")
    assert "gfx1151" in chosen.why


@pytest.mark.parametrize("maker", ["amd", "intel"])
@pytest.mark.parametrize("base", [LINUX, WINDOWS])
def test_amd_and_intel_take_vulkan_where_its_driver_is(maker: str, base: Machine) -> None:
    machine = replace(base, vendors=frozenset({maker}), vulkan=frozenset({maker}))
    assert choose_engine(machine, "auto").value == EngineBuild("vulkan", "vulkan")


def test_a_laptop_with_an_nvidia_gpu_without_driver_uses_its_other_gpu() -> None:
    machine = replace(LINUX, vendors=frozenset({"nvidia", "intel"}), vulkan=frozenset({"intel"}))
    assert choose_engine(machine, "auto").value.kind == "vulkan"


def test_apple_silicon_has_metal_in_the_default_build() -> None:
    assert choose_engine(Machine("Darwin", "arm64"), "auto").value == EngineBuild("metal")


@pytest.mark.parametrize(
    ("asked", "machine", "build"),
    [
        ("cpu", nvidia((595, 10), RTX_4090), EngineBuild("cpu")),
        ("vulkan", LINUX, EngineBuild("vulkan", "vulkan")),
        ("cuda", LINUX, EngineBuild("cuda", "cu128")),
        ("rocm", LINUX, EngineBuild("rocm", "rocm-7.2.4")),
        ("rocm", replace(LINUX, rocm=(10, 0)), EngineBuild("cpu")),
        ("rocm", WINDOWS, EngineBuild("cpu")),
        ("metal", LINUX, EngineBuild("cpu")),
        ("metal", Machine("Darwin", "arm64"), EngineBuild("metal")),
        ("cuda", Machine("Darwin", "arm64"), EngineBuild("cpu")),
        ("cuda", nvidia((470, 1), RTX_4090), EngineBuild("cpu")),
    ],
)
def test_a_kind_asked_for_is_taken_unless_it_cannot_exist(asked: str, machine: Machine, build: EngineBuild) -> None:
    chosen = choose_engine(machine, asked)
    assert chosen.value == build
    assert chosen.why


def test_every_cuda_build_needs_at_least_as_new_a_driver_for_portable_code() -> None:
    assert all(wheel.toolkit_driver >= wheel.family_driver for wheel in CUDA_WHEELS)


def test_a_processor_without_avx2_is_warned_about_and_others_are_not() -> None:
    assert "no AVX2" in missing_avx2(replace(LINUX, avx2=False))
    assert missing_avx2(LINUX) == ""
    assert missing_avx2(Machine("Darwin", "arm64")) == ""
