"""Graphics devices, each maker by its own way, without starting any engine.

A driver that hangs must not hang the server: what may block runs in a thread of its own and is given up after a
while. What cannot be read is said in a sentence, never raised.
"""

from __future__ import annotations

import importlib
import platform
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from modules.hardware.values import CUDA, METAL, ROCM, VULKAN, Device

NVML_SECONDS = 3.0
_NO_DRIVER = ("NVML_ERROR_LIBRARY_NOT_FOUND", "NVML_ERROR_DRIVER_NOT_LOADED")
_METAL_SHARE = 0.75  # of the memory an Apple GPU may take by default (recommendedMaxWorkingSetSize)
_SOFTWARE = ("lvp", "swrast", "lavapipe", "dzn")  # Vulkan drivers that compute on the processor or on another driver
_VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}


@dataclass(slots=True)
class ProbeResult:
    """Devices found, and sentences about what could not be read."""

    devices: list[Device] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def add(self, other: ProbeResult) -> None:
        """Take over what another look found."""
        self.devices.extend(other.devices)
        self.unknown.extend(other.unknown)


def all_devices(root: Path = Path("/"), ram: tuple[int, int] | None = None) -> ProbeResult:
    """Every graphics device. `ram` = (total, free) bytes, for GPUs that share the main memory."""
    seen = nvidia(lambda: importlib.import_module("pynvml"))
    seen.add(amd(root))
    seen.add(apple(ram))
    seen.add(vulkan(root, {device.kind for device in seen.devices}))
    return seen


def nvidia(library: Callable[[], Any], seconds: float = NVML_SECONDS) -> ProbeResult:
    """NVIDIA's devices through its management library; `library` imports it. At most `seconds` long."""
    result: list[ProbeResult] = []

    def ask() -> None:
        result.append(_nvml(library))

    thread = threading.Thread(target=ask, name="nvml", daemon=True)
    thread.start()
    thread.join(seconds)
    if result:
        return result[0]
    return ProbeResult(
        unknown=[f"NVIDIA's driver did not answer within {seconds:g} seconds; its devices are left out."]
    )


def _nvml(library: Callable[[], Any]) -> ProbeResult:
    try:
        nvml = library()
    except ImportError:
        return ProbeResult(unknown=["NVIDIA devices are not looked for: the package nvidia-ml-py is not installed."])
    seen = ProbeResult()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        # Without a driver there is nothing to know; a driver that refuses is worth a sentence.
        if getattr(error, "value", None) not in [getattr(nvml, name, None) for name in _NO_DRIVER]:
            seen.unknown.append(f"NVIDIA's driver refuses: {error}.")
        return seen
    except Exception as error:  # a library that does not fit the driver raises whatever it likes
        return ProbeResult(unknown=[f"NVIDIA's driver could not be asked: {type(error).__name__}: {error}."])
    try:
        for index in range(nvml.nvmlDeviceGetCount()):
            seen.devices.append(_nvidia_device(nvml, index, seen.unknown))
    except Exception as error:
        seen.unknown.append(f"NVIDIA's devices could not all be read: {type(error).__name__}: {error}.")
    finally:
        nvml.nvmlShutdown()
    return seen


def _nvidia_device(nvml: Any, index: int, unknown: list[str]) -> Device:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    raw = nvml.nvmlDeviceGetName(handle)
    name = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        total, free = int(memory.total), int(memory.free)
    except nvml.NVMLError as error:
        unknown.append(f"The memory of {name} could not be read: {error}.")
        total = free = None  # type: ignore[assignment]
    try:
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
        capability = f"{major}.{minor}"
    except (nvml.NVMLError, AttributeError):
        capability = ""
    return Device(CUDA, index, name, total, free, capability)


def nvidia_process_bytes(pids: Iterable[int]) -> dict[str, int]:
    """Bytes that these processes hold on each NVIDIA device ("cuda:0"); {} where that cannot be read."""
    wanted = frozenset(pids)
    found: dict[str, int] = {}
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
    except Exception:  # no library, no driver, or one that does not fit: nothing can be measured
        return found
    try:
        for index in range(nvml.nvmlDeviceGetCount()):
            running = nvml.nvmlDeviceGetComputeRunningProcesses(nvml.nvmlDeviceGetHandleByIndex(index))
            used = [one.usedGpuMemory for one in running if one.pid in wanted]
            if used and all(used):
                found[f"{CUDA}:{index}"] = sum(used)
    except nvml.NVMLError:
        return {}
    finally:
        nvml.nvmlShutdown()
    return found


def amd(root: Path) -> ProbeResult:
    """AMD's devices with the compute driver, from the kernel's own files."""
    seen = ProbeResult()
    for node in sorted((root / "sys/class/kfd/kfd/topology/nodes").glob("*"), key=_number):
        facts = _facts(_read(node / "properties"))
        if not facts.get("simd_count"):
            continue  # a processor is a node too
        version = facts.get("gfx_target_version", 0)
        target = f"gfx{version // 10000}{version // 100 % 100}{version % 100:x}" if version else ""
        card = root / f"sys/class/drm/renderD{facts.get('drm_render_minor', 0)}/device"
        total, used = _whole(card / "mem_info_vram_total"), _whole(card / "mem_info_vram_used")
        if total is None:
            seen.unknown.append(f"The memory of the AMD device {target or node.name} could not be read.")
        free = None if total is None or used is None else max(0, total - used)
        name = _read(node / "name").strip() or "AMD GPU"
        seen.devices.append(Device(ROCM, len(seen.devices), name, total, free, target))
    return seen


def apple(ram: tuple[int, int] | None, system: str | None = None, machine: str | None = None) -> ProbeResult:
    """The GPU of an Apple chip, which shares the main memory."""
    if (system or platform.system()) != "Darwin" or (machine or platform.machine()) != "arm64":
        return ProbeResult()
    if ram is None:
        found = psutil.virtual_memory()
        ram = int(found.total), int(found.available)
    most = int(ram[0] * _METAL_SHARE)
    return ProbeResult([Device(METAL, 0, "Apple GPU", most, min(most, ram[1]))])


def vulkan(root: Path, known: set[str]) -> ProbeResult:
    """Devices that only Vulkan reaches, told by its driver files. Their memory is not known before an engine runs.

    Left out where the maker's own way has found the device already: it is the same one.
    """
    if known or platform.system() != "Linux":
        return ProbeResult()
    folders = ("usr/share/vulkan/icd.d", "usr/local/share/vulkan/icd.d", "etc/vulkan/icd.d")
    drivers = [path.name for folder in folders for path in sorted((root / folder).glob("*.json"))]
    real = [name for name in drivers if not name.lower().startswith(_SOFTWARE)]
    cards = sorted((root / "sys/class/drm").glob("card[0-9]*"))
    makers = [maker for card in cards if (maker := _VENDORS.get(_read(card / "device/vendor").strip()))]
    if not real or not makers:
        return ProbeResult()
    seen = ProbeResult()
    for index, maker in enumerate(makers):
        seen.devices.append(Device(VULKAN, index, f"{maker} GPU", _whole(cards[index] / "device/mem_info_vram_total"),
                                   None))  # fmt: skip
    seen.unknown.append("How much memory Vulkan devices have free is known only once an engine runs on them.")
    return seen


def _facts(text: str) -> dict[str, int]:
    found = re.findall(r"^(\w+) (\d+)$", text, re.MULTILINE)
    return {name: int(value) for name, value in found}


def _number(path: Path) -> int:
    return int(path.name) if path.name.isdigit() else 0


def _whole(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
