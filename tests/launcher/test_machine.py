"""Reading a machine from what its tools and system files say."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

import pytest

from modules.launcher.machine import NvidiaGpu, look, version_of
from modules.launcher.tool import Answer

NOT_THERE = Answer(False, "No such file or directory", -1)


def tools(answers: dict[str, Answer]):  # type: ignore[no-untyped-def]
    """A `run` that knows canned answers by the start of the command line."""

    def run(command: Sequence[str]) -> Answer:
        line = " ".join(command)
        return next((answer for start, answer in answers.items() if line.startswith(start)), NOT_THERE)

    return run


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text, encoding="utf-8")


@pytest.fixture
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


@pytest.mark.usefixtures("linux")
def test_a_bare_machine_has_nothing(tmp_path: Path) -> None:
    machine = look(tmp_path, tools({}), {})
    assert (machine.nvidia_driver, machine.rocm) == (None, None)
    assert not machine.vendors | machine.vulkan


@pytest.mark.usefixtures("linux")
def test_nvidia_smi_tells_driver_and_gpus(tmp_path: Path) -> None:
    out = "580.65.06, 9.0, NVIDIA H100 80GB HBM3\n580.65.06, 8.9, NVIDIA L4, PCIe\n"
    machine = look(tmp_path, tools({"nvidia-smi": Answer(True, out)}), {})
    assert machine.nvidia_driver == (580, 65, 6)
    assert machine.nvidia_gpus == (NvidiaGpu("NVIDIA H100 80GB HBM3", (9, 0)), NvidiaGpu("NVIDIA L4, PCIe", (8, 9)))


@pytest.mark.usefixtures("linux")
def test_an_old_nvidia_smi_that_does_not_know_compute_capabilities_still_counts(tmp_path: Path) -> None:
    answers = {
        "nvidia-smi --query-gpu=driver_version,compute_cap": Answer(False, 'Field "compute_cap" is not valid', 2),
        "nvidia-smi --query-gpu=driver_version,name": Answer(True, "470.82.01, Tesla K80\n"),
    }
    machine = look(tmp_path, tools(answers), {})
    assert machine.nvidia_driver == (470, 82, 1)
    assert machine.nvidia_gpus == (NvidiaGpu("Tesla K80", None),)


@pytest.mark.usefixtures("linux")
def test_the_complaint_of_nvidia_smi_is_kept(tmp_path: Path) -> None:
    text = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\nMake sure …"
    machine = look(tmp_path, tools({"nvidia-smi": Answer(False, text, 9)}), {})
    assert machine.nvidia_driver is None
    assert machine.nvidia_error == text.splitlines()[0]


@pytest.mark.usefixtures("linux")
def test_the_kernel_tells_the_driver_where_nvidia_smi_is_missing(tmp_path: Path) -> None:
    kernel = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.133.07  Release Build\nGCC version: 12.2.0\n"
    write(tmp_path, "proc/driver/nvidia/version", kernel)
    assert look(tmp_path, tools({}), {}).nvidia_driver is None  # a container that was given no GPU
    write(tmp_path, "dev/nvidiactl", "")
    assert look(tmp_path, tools({}), {}).nvidia_driver == (570, 133, 7)


@pytest.mark.usefixtures("linux")
def test_rocm_tells_version_and_targets(tmp_path: Path) -> None:
    write(tmp_path, "opt/rocm/.info/version", "7.2.4-81\n")
    out = "  Name:     AMD Ryzen 9\n  Name:     gfx1100\n      Name:  amdgcn-amd-amdhsa--gfx1100\n"
    machine = look(tmp_path, tools({"rocminfo": Answer(True, out)}), {})
    assert machine.rocm == (7, 2, 4)
    assert machine.gfx == ("gfx1100",)


@pytest.mark.usefixtures("linux")
def test_display_devices_and_vulkan_drivers_are_read_from_the_system(tmp_path: Path) -> None:
    write(tmp_path, "sys/class/drm/card0/device/vendor", "0x8086\n")
    write(tmp_path, "sys/class/drm/card1/device/vendor", "0x1002\n")
    write(tmp_path, "sys/class/drm/card2/device/vendor", "0x1234\n")
    write(tmp_path, "usr/share/vulkan/icd.d/radeon_icd.x86_64.json", "{}")
    write(tmp_path, "usr/share/vulkan/icd.d/lvp_icd.x86_64.json", "{}")
    write(tmp_path, "dev/dri/renderD128", "")
    machine = look(tmp_path, tools({}), {})
    assert machine.vendors == {"intel", "amd"}
    assert machine.vulkan == {"amd"}  # llvmpipe ("lvp") is the processor in disguise
    assert machine.render_access
    assert look(tmp_path, tools({}), {"VK_DRIVER_FILES": "/x/intel_icd.json"}).vulkan == {"intel"}


@pytest.mark.usefixtures("linux")
@pytest.mark.parametrize(
    ("text", "expected"),
    [("flags\t\t: fpu sse avx avx2 fma\n", True), ("flags\t\t: fpu sse avx\n", False), ("model name : x\n", None)],
)
def test_avx2_is_read_from_the_processor_flags(tmp_path: Path, text: str, expected: bool | None) -> None:
    write(tmp_path, "proc/cpuinfo", "processor : 0\n" + text)
    assert look(tmp_path, tools({}), {}).avx2 is expected


def test_windows_tells_its_display_devices_through_the_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    monkeypatch.setattr(platform, "machine", lambda: "AMD64")
    write(tmp_path, "System32/vulkan-1.dll", "")
    out = r"    MatchingDeviceId    REG_SZ    PCI\VEN_1002&DEV_744C&REV_C8" + "\r\n"
    machine = look(tmp_path, tools({"reg query": Answer(True, out)}), {"SystemRoot": str(tmp_path)})
    assert (machine.system, machine.arch) == ("Windows", "x86_64")
    assert machine.vendors == {"amd"}
    assert "amd" in machine.vulkan


def test_this_machine_can_be_looked_at() -> None:
    machine = look()
    assert machine.system == platform.system()
    assert machine.arch


def test_versions_are_the_first_dotted_number() -> None:
    assert version_of("driver 580.65.06 of today") == (580, 65, 6)
    assert version_of("none") is None
