"""What this machine is, as far as the choice of an engine build depends on it. Only looks, never decides."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modules.launcher.tool import Ask, ask

Version = tuple[int, ...]

# PCI vendor ids (https://pcisig.com/membership/member-companies), as /sys and the Windows registry show them.
PCI_VENDORS = {"10de": "nvidia", "1002": "amd", "8086": "intel"}
VULKAN_DRIVERS = {"nvidia": "nvidia", "radeon": "amd", "amd": "amd", "intel": "intel"}
WINDOWS_DISPLAYS = r"HKLM\SYSTEM\CurrentControlSet\Control\Class\{4d36e968-e325-11ce-bfc1-08002be10318}"


@dataclass(frozen=True, slots=True)
class NvidiaGpu:
    """One NVIDIA GPU. `compute` is its compute capability, None where an old driver does not tell."""

    name: str
    compute: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts about this machine.

    system, arch   "Linux", "Darwin" or "Windows"; "x86_64" or "arm64"
    glibc          version of the C library on Linux, else None
    avx2           whether an x86 processor has AVX2; None where that cannot be told or does not matter
    nvidia_driver  version of the NVIDIA driver, None without one
    nvidia_error   what nvidia-smi complained of, "" where it did not
    vendors        makers of the display devices seen ("nvidia", "amd", "intel")
    rocm, gfx      version of ROCm, None without it; its GPU targets ("gfx1100", …)
    vulkan         makers for whose GPUs a Vulkan driver is installed
    render_access  whether this account may use /dev/dri (always True off Linux)
    """

    system: str
    arch: str
    glibc: Version | None = None
    avx2: bool | None = None
    nvidia_driver: Version | None = None
    nvidia_gpus: tuple[NvidiaGpu, ...] = ()
    nvidia_error: str = ""
    vendors: frozenset[str] = frozenset()
    rocm: Version | None = None
    gfx: tuple[str, ...] = ()
    vulkan: frozenset[str] = frozenset()
    render_access: bool = True


def version_of(text: str) -> Version | None:
    """The first dotted number in a text, as integers: "driver 580.65.06" → (580, 65, 6)."""
    found = re.search(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in found.group().split(".")) if found else None


def look(root: Path = Path("/"), run: Ask = ask, environ: Mapping[str, str] = os.environ) -> Machine:
    """Look at this machine; takes well under a second and never raises for a tool that is missing or broken.

    root, run, environ are for tests: another file system root, canned command outputs, another environment.
    """
    system = platform.system()
    arch = _arch(platform.machine())
    driver, gpus, error = _nvidia(root, run, system)
    rocm, gfx = _rocm(root, run) if system == "Linux" else (None, ())
    return Machine(
        system=system,
        arch=arch,
        glibc=_glibc() if system == "Linux" else None,
        avx2=_avx2(root) if system == "Linux" and arch == "x86_64" else None,
        nvidia_driver=driver,
        nvidia_gpus=gpus,
        nvidia_error=error,
        vendors=_vendors(root, run, system),
        rocm=rocm,
        gfx=gfx,
        vulkan=_vulkan(root, system, environ),
        render_access=_render_access(root) if system == "Linux" else True,
    )


def _arch(name: str) -> str:
    lower = name.lower()
    return {"amd64": "x86_64", "x64": "x86_64", "aarch64": "arm64"}.get(lower, lower)


def _glibc() -> Version | None:
    name, number = platform.libc_ver()
    return version_of(number) if name == "glibc" else None


def _avx2(root: Path) -> bool | None:
    text = _read(root / "proc/cpuinfo")
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return "avx2" in flags.group(1).split() if flags else None


def _nvidia(root: Path, run: Ask, system: str) -> tuple[Version | None, tuple[NvidiaGpu, ...], str]:
    """Driver, GPUs and complaint. nvidia-smi first; the kernel's own word where that tool is missing."""
    error = ""
    for tool in _nvidia_tools(root, system):
        for fields in ("driver_version,compute_cap,name", "driver_version,name"):
            answer = run([tool, f"--query-gpu={fields}", "--format=csv,noheader"])
            if answer.ok:
                rows = [row for row in answer.text.splitlines() if "," in row]
                if rows:
                    return version_of(rows[0]), tuple(_gpu(row, fields) for row in rows), ""
            elif answer.code > 0:
                error = answer.text.strip().splitlines()[0] if answer.text.strip() else f"exit code {answer.code}"
    kernel = re.search(r"Kernel Module.*?\s(\d{3,}(?:\.\d+)+)", _read(root / "proc/driver/nvidia/version"))
    if kernel and (root / "dev/nvidiactl").exists():
        return version_of(kernel.group(1)), (NvidiaGpu("NVIDIA GPU", None),), ""
    return None, (), error


def _nvidia_tools(root: Path, system: str) -> list[str]:
    tools = ["nvidia-smi"]
    if system == "Linux" and (root / "usr/lib/wsl/lib/nvidia-smi").exists():
        tools.append("/usr/lib/wsl/lib/nvidia-smi")  # Windows' Linux puts it off PATH
    return tools


def _gpu(row: str, fields: str) -> NvidiaGpu:
    parts = [part.strip() for part in row.split(",", fields.count(","))]
    capability = version_of(parts[1]) if "compute_cap" in fields else None
    pair = (capability[0], capability[1]) if capability and len(capability) == 2 else None
    return NvidiaGpu(parts[-1], pair)


def _vendors(root: Path, run: Ask, system: str) -> frozenset[str]:
    if system == "Linux":
        ids = [_read(path).strip() for path in (root / "sys/class/drm").glob("card*/device/vendor")]
        return frozenset(PCI_VENDORS[name[2:]] for name in ids if name[2:] in PCI_VENDORS)
    if system == "Windows":
        answer = run(["reg", "query", WINDOWS_DISPLAYS, "/s", "/v", "MatchingDeviceId"])
        ids = re.findall(r"ven_([0-9a-f]{4})", answer.text.lower()) if answer.ok else []
        return frozenset(PCI_VENDORS[name] for name in ids if name in PCI_VENDORS)
    return frozenset()


def _rocm(root: Path, run: Ask) -> tuple[Version | None, tuple[str, ...]]:
    version = version_of(_read(root / "opt/rocm/.info/version"))
    answer = run(["rocminfo"])
    if not answer.ok:
        answer = run(["/opt/rocm/bin/rocminfo"])
    targets = re.findall(r"^\s*Name:\s*(gfx[0-9a-f]+)\s*$", answer.text, re.MULTILINE) if answer.ok else []
    return version, tuple(dict.fromkeys(targets))


def _vulkan(root: Path, system: str, environ: Mapping[str, str]) -> frozenset[str]:
    """Makers with an installed Vulkan driver; software renderers do not count."""
    if system == "Windows":
        # The loader comes with the makers' drivers, so its presence stands for theirs.
        found = (Path(environ.get("SystemRoot", r"C:\Windows")) / "System32" / "vulkan-1.dll").exists()
        return frozenset(VULKAN_DRIVERS.values()) if found else frozenset()
    named = environ.get("VK_DRIVER_FILES") or environ.get("VK_ICD_FILENAMES") or ""
    files = [Path(name).name for name in named.split(os.pathsep) if name]
    if not files:
        folders = ("usr/share/vulkan/icd.d", "usr/local/share/vulkan/icd.d", "etc/vulkan/icd.d")
        files = [path.name for folder in folders for path in (root / folder).glob("*.json")]
    return frozenset(
        maker for name in files for start, maker in VULKAN_DRIVERS.items() if name.lower().startswith(start)
    )


def _render_access(root: Path) -> bool:
    return any(os.access(path, os.R_OK | os.W_OK) for path in (root / "dev/dri").glob("renderD*"))


def _read(path: Path) -> str:
    """A small text file of the system, or "" where it is not there or not readable."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
