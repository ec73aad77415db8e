"""Reading the machine: made-up file systems and libraries stand for machines that are not here."""

from __future__ import annotations

import json
import threading
import types
from pathlib import Path
from typing import Any

import psutil
import pytest

from modules.hardware import cpu, gpu
from modules.hardware.reader import HardwareReader
from modules.hardware.values import Device, Hardware

GB = 1 << 30


class FakeNvml(types.ModuleType):
    """pynvml with two cards, the second of which hides its memory."""

    class NVMLError(Exception):
        def __init__(self, value: int, said: str = "") -> None:
            super().__init__(said)
            self.value = value

    NVML_ERROR_LIBRARY_NOT_FOUND, NVML_ERROR_DRIVER_NOT_LOADED = 12, 9

    def __init__(self, init: int | None = None) -> None:
        super().__init__("pynvml")
        self.init, self.ended = init, 0

    def nvmlInit(self) -> None:  # noqa: N802
        if self.init is not None:
            raise self.NVMLError(self.init, "Insufficient Permissions")

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.ended += 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:  # noqa: N802
        return "Card A" if handle == 0 else b"Card B"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        if handle == 1:
            raise self.NVMLError(3, "Not Supported")
        return types.SimpleNamespace(total=24 * GB, free=20 * GB)

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> tuple[int, int]:  # noqa: N802
        return 8, 9


def write(root: Path, files: dict[str, str]) -> Path:
    """A made-up file system."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_this_machine_is_read_and_nothing_raises() -> None:
    found = HardwareReader().read()
    assert found.cores >= 1
    assert 0 < found.ram_free <= found.ram_total


def test_nvidia_cards_are_told_with_what_could_not_be_read() -> None:
    nvml = FakeNvml()
    seen = gpu.nvidia(lambda: nvml)
    assert seen.devices[0] == Device("cuda", 0, "Card A", 24 * GB, 20 * GB, "8.9")
    assert seen.devices[1] == Device("cuda", 1, "Card B", None, None, "8.9")
    assert seen.unknown == ["The memory of Card B could not be read: Not Supported."]
    assert nvml.ended == 1


@pytest.mark.parametrize(("code", "sentences"), [(12, 0), (9, 0), (4, 1)])
def test_no_driver_is_nothing_to_tell_and_one_that_refuses_is(code: int, sentences: int) -> None:
    seen = gpu.nvidia(lambda: FakeNvml(init=code))
    assert seen.devices == []
    assert len(seen.unknown) == sentences


def test_a_library_that_is_missing_or_odd_is_said_and_not_raised() -> None:
    def missing() -> Any:
        raise ImportError("no pynvml")

    assert "not installed" in gpu.nvidia(missing).unknown[0]
    odd = FakeNvml()
    odd.nvmlDeviceGetCount = lambda: 1 // 0  # type: ignore[method-assign]
    assert "ZeroDivisionError" in gpu.nvidia(lambda: odd).unknown[0]


def test_a_driver_that_hangs_is_given_up_and_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go, asked = threading.Event(), list[int]()

    def hangs() -> Any:
        asked.append(1)
        let_go.wait(30)
        return FakeNvml()

    monkeypatch.setattr(gpu, "NVML_SECONDS", 0.05)
    reader = HardwareReader(root=tmp_path, fresh=0.0, gpus=lambda root, ram: gpu.nvidia(hangs, 0.05))
    try:
        for _ in range(3):
            assert "did not answer" in reader.read().unknown[-1]
        assert len(asked) == 1
    finally:
        let_go.set()


def test_amd_cards_are_read_from_the_kernel(tmp_path: Path) -> None:
    nodes = "sys/class/kfd/kfd/topology/nodes"
    write(tmp_path, {
        f"{nodes}/0/properties": "cpu_cores_count 16\nsimd_count 0\n",
        f"{nodes}/1/properties": "simd_count 192\ngfx_target_version 110000\ndrm_render_minor 128\n",
        f"{nodes}/1/name": "navi31\n",
        "sys/class/drm/renderD128/device/mem_info_vram_total": str(24 * GB),
        "sys/class/drm/renderD128/device/mem_info_vram_used": str(4 * GB),
    })  # fmt: skip
    assert gpu.amd(tmp_path).devices == [Device("rocm", 0, "navi31", 24 * GB, 20 * GB, "gfx1100")]
    assert gpu.amd(tmp_path / "nothing").devices == []


def test_an_apple_gpu_shares_the_main_memory() -> None:
    device = gpu.apple((32 * GB, 10 * GB), "Darwin", "arm64").devices[0]
    assert (device.kind, device.total, device.free) == ("metal", 24 * GB, 10 * GB)
    assert gpu.apple((32 * GB, 10 * GB), "Darwin", "x86_64").devices == []


@pytest.mark.parametrize(("driver", "count"), [("intel_icd.x86_64.json", 1), ("lvp_icd.x86_64.json", 0)])
def test_vulkan_needs_a_card_and_a_driver_that_is_no_software(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str, count: int
) -> None:
    monkeypatch.setattr(gpu.platform, "system", lambda: "Linux")
    write(tmp_path, {f"usr/share/vulkan/icd.d/{driver}": "{}", "sys/class/drm/card0/device/vendor": "0x8086\n"})
    assert len(gpu.vulkan(tmp_path, set()).devices) == count
    assert gpu.vulkan(tmp_path, {"cuda"}).devices == []


def machine_ram(monkeypatch: pytest.MonkeyPatch, total: int, free: int) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(total=total, available=free))


def test_the_limit_of_a_container_counts_in_both_versions_of_control_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine_ram(monkeypatch, 64 * GB, 60 * GB)
    two = write(tmp_path / "two", {
        "proc/self/cgroup": "0::/a/b\n",
        "sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/b/memory.current": "1\n",
        "sys/fs/cgroup/a/memory.max": str(8 * GB), "sys/fs/cgroup/a/memory.current": str(5 * GB),
        "sys/fs/cgroup/a/memory.stat": f"anon 5\ninactive_file {2 * GB}\n",
    })  # fmt: skip
    found = cpu.ram(two)
    assert (found.total, found.free) == (8 * GB, 5 * GB)  # 8 - 5 + 2 that are only cached
    assert found.why
    one = write(tmp_path / "one", {
        "proc/self/cgroup": "4:memory:/docker/x\n0::/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": str(4 * GB),
        "sys/fs/cgroup/memory/memory.usage_in_bytes": str(1 * GB),
    })  # fmt: skip
    assert (cpu.ram(one).total, cpu.ram(one).free) == (4 * GB, 3 * GB)


def test_a_group_without_a_limit_leaves_the_machine_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine_ram(monkeypatch, 64 * GB, 60 * GB)
    write(tmp_path, {
        "proc/self/cgroup": "4:memory:/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": str(63 * GB),
    })  # fmt: skip
    assert cpu.ram(tmp_path) == cpu.Ram(64 * GB, 60 * GB)


def test_processor_features_are_read_for_x86_and_arm(tmp_path: Path) -> None:
    x86 = write(tmp_path / "x86", {"proc/cpuinfo": "processor : 0\nflags\t\t: fpu avx2 fma\n\nprocessor : 1\n"})
    arm = write(tmp_path / "arm", {"proc/cpuinfo": "processor : 0\nFeatures\t: fp asimd asimddp\n"})
    assert cpu.features(x86) == ("fpu", "avx2", "fma")
    assert cpu.features(arm) == ("fp", "asimd", "asimddp")


def with_card(root: Path, ram: tuple[int, int] | None) -> gpu.ProbeResult:
    return gpu.ProbeResult([Device("cuda", 0, "Card A", 24 * GB, 20 * GB, "8.9")])


def test_an_engine_built_for_the_processor_sees_no_card(tmp_path: Path) -> None:
    reader = HardwareReader(gpus=with_card, probe=lambda name: {"version": "1", "devices": []})
    assert len(reader.read().devices) == 1
    assert reader.for_engine("xllamacpp", wait=20).devices == ()
    assert len(reader.for_engine("another").devices) == 1


def test_an_engine_for_vulkan_gets_the_memory_of_the_same_card() -> None:
    answer = {"devices": [{"kind": "vulkan", "index": 0, "name": "NVIDIA Card A (Vulkan)", "total": None}]}
    found = HardwareReader(gpus=with_card, probe=lambda name: answer).for_engine("xllamacpp", wait=20).devices
    assert found == (Device("vulkan", 0, "Card A", 24 * GB, 20 * GB, "8.9"),)


@pytest.mark.parametrize("answer", [{"error": "it is broken"}, {"devices": [{"kind": "cuda"}]}, {"devices": 3}])
def test_a_probe_that_fails_leaves_the_cards_in_and_says_so(answer: dict[str, Any]) -> None:
    found = HardwareReader(gpus=with_card, probe=lambda name: answer).for_engine("torch", wait=20)
    assert len(found.devices) == 1
    assert "not known" in found.unknown[-1]


def test_what_a_library_said_is_remembered_for_the_next_run_and_a_damaged_memory_is_not(tmp_path: Path) -> None:
    asked: list[str] = []

    def probe(name: str) -> dict[str, Any]:
        asked.append(name)
        return {"version": "1", "devices": []}

    keep = tmp_path / "devices.json"
    for _ in range(2):
        assert HardwareReader(keep=keep, gpus=with_card, probe=probe).for_engine("torch", wait=20).devices == ()
    assert asked == ["torch"]
    keep.write_text("{")
    assert HardwareReader(keep=keep, gpus=with_card, probe=probe).for_engine("torch", wait=20).devices == ()
    assert len(asked) == 2
    assert json.loads(keep.read_text())


def test_a_machine_is_not_read_twice_within_two_seconds() -> None:
    reads: list[int] = []

    def gpus(root: Path, ram: tuple[int, int] | None) -> gpu.ProbeResult:
        reads.append(1)
        return gpu.ProbeResult()

    reader = HardwareReader(gpus=gpus, fresh=3600)
    assert isinstance(reader.read(), Hardware)
    assert reader.read() is reader.read()
    assert len(reads) == 1
