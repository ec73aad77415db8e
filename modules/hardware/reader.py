"""Reads the machine, and remembers what does not change: one `HardwareReader` per program, given to whoever needs it.

Free memory is read again after two seconds, so that a page may ask often. What only an engine's library can say (which
devices its build computes on) is asked in a short process once per start of the machine and version of the library.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from modules.hardware import cpu, gpu
from modules.hardware.values import Device, Hardware

FRESH_SECONDS = 2.0
HUNG_SECONDS = 300.0  # a driver that did not answer is left alone this long
PROBE_SECONDS = 60.0  # importing torch from a cold disk takes long
ROOT = Path(__file__).resolve().parents[2]
PROBES = ("torch", "xllamacpp")
"""Libraries that modules/engine/device_probe.py can ask."""

_DISTRIBUTIONS = {"torch": "torch", "xllamacpp": "xllamacpp"}


@dataclass(frozen=True, slots=True)
class EngineDevices:
    """What a library computes on besides the processor. None = not known (not asked, or it did not answer)."""

    devices: tuple[Device, ...] | None
    why: str = ""


def run_probe(name: str) -> Mapping[str, Any]:
    """Ask the library in a process of its own. Raises OSError, ValueError or subprocess.TimeoutExpired."""
    done = subprocess.run(
        [sys.executable, "-m", "modules.engine.device_probe", name],
        cwd=ROOT, capture_output=True, text=True, timeout=PROBE_SECONDS, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ValueError(f"it ended with {done.returncode}")
    answer = json.loads(done.stdout)
    if not isinstance(answer, dict):
        raise ValueError("its answer makes no sense")
    return answer


@dataclass(slots=True)
class HardwareReader:
    """The machine, read when asked. Thread-safe; calls may take some milliseconds and belong in a thread.

    keep   a file that remembers what libraries said; None = only this run does
    The other fields are how each part is read; tests give their own.
    """

    keep: Path | None = None
    root: Path = Path("/")
    gpus: Callable[[Path, tuple[int, int] | None], gpu.ProbeResult] = gpu.all_devices
    probe: Callable[[str], Mapping[str, Any]] = run_probe
    fresh: float = FRESH_SECONDS
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _read_at: float = float("-inf")
    _last: Hardware | None = None
    _hung: tuple[float, gpu.ProbeResult] | None = None
    _fixed: tuple[int, tuple[str, ...]] | None = None
    _engines: dict[str, EngineDevices] = field(default_factory=dict)
    _asking: dict[str, threading.Thread] = field(default_factory=dict)

    def read(self) -> Hardware:
        """The machine now; raises nothing."""
        with self._lock:
            if self._last is None or time.monotonic() - self._read_at > self.fresh:
                self._last = self._anew()
                self._read_at = time.monotonic()
            return self._last

    def for_engine(self, needs: str, wait: float = 5.0) -> Hardware:
        """The machine as an engine sees it: without devices that the installed build of `needs` does not compute on.

        What is not known within `wait` seconds leaves all devices in, and `unknown` says so.
        """
        machine = self.read()
        if needs not in PROBES or not (machine.devices or self._may_hide_devices()):
            return machine
        known = self.engine_devices(needs, wait)
        if known.devices is None:
            return replace(machine, unknown=(*machine.unknown, known.why)) if machine.devices else machine
        return replace(machine, devices=_matched(machine.devices, known.devices))

    def engine_devices(self, needs: str, wait: float = 0.0) -> EngineDevices:
        """What that library computes on; asked in the background the first time, waited for at most `wait` seconds."""
        with self._lock:
            if needs in self._engines:
                return self._engines[needs]
            if needs not in self._asking:
                thread = threading.Thread(target=self._ask, args=(needs,), name=f"probe {needs}", daemon=True)
                self._asking[needs] = thread
                thread.start()
            thread = self._asking[needs]
        thread.join(wait)
        with self._lock:
            return self._engines.get(needs, EngineDevices(None, f"What {needs} can compute on is still being asked."))

    # ── how it is read ──────────────────────────────────────────────────────────────────────────────

    def _anew(self) -> Hardware:
        unknown: list[str] = []
        if self._fixed is None:
            self._fixed = cpu.cores(self.root), cpu.features(self.root)
        count, features = self._fixed
        if not features:
            unknown.append("Which instructions the processor has could not be read.")
        try:
            ram = cpu.ram(self.root)
        except (OSError, psutil.Error) as error:
            ram = cpu.Ram(0, 0)
            unknown.append(f"The memory could not be read: {error}.")
        if ram.why:
            unknown.append(ram.why)
        seen = self._graphics((ram.total, ram.free) if ram.total else None)
        return Hardware(count, ram.total, ram.free, tuple(seen.devices), features, (*unknown, *seen.unknown))

    def _graphics(self, ram: tuple[int, int] | None) -> gpu.ProbeResult:
        if self._hung is not None and time.monotonic() < self._hung[0]:
            return self._hung[1]
        started = time.monotonic()
        seen = self.gpus(self.root, ram)
        slow = time.monotonic() - started >= gpu.NVML_SECONDS
        self._hung = (time.monotonic() + HUNG_SECONDS, seen) if slow else None
        return seen

    def _may_hide_devices(self) -> bool:
        """Whether there is a card in the machine that no look from here has named, as Intel's."""
        return any((self.root / "sys/class/drm").glob("card[0-9]*"))

    def _ask(self, needs: str) -> None:
        key = self._key(needs)
        answer = self._remembered().get(key)
        if answer is None:
            try:
                answer = self.probe(needs)
            except subprocess.TimeoutExpired:
                answer = {"error": "it did not answer in time"}
            except (OSError, ValueError) as error:
                answer = {"error": str(error)}
            if "error" not in answer:
                self._remember(key, answer)
        found = _engine_devices(needs, answer)
        with self._lock:
            self._engines[needs] = found

    def _key(self, needs: str) -> str:
        """Changes with a new version of the library, a new driver (which wants a restart) and a new start."""
        try:
            version = importlib.metadata.version(_DISTRIBUTIONS.get(needs, needs))
        except importlib.metadata.PackageNotFoundError:
            version = ""
        return f"{needs} {version} {int(psutil.boot_time())}"

    def _remembered(self) -> dict[str, Any]:
        if self.keep is None:
            return {}
        try:
            value = json.loads(self.keep.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def _remember(self, key: str, answer: Mapping[str, Any]) -> None:
        if self.keep is None:
            return
        name = key.split(" ", 1)[0]
        others = {one: value for one, value in self._remembered().items() if not one.startswith(f"{name} ")}
        with contextlib.suppress(OSError):  # losing it costs the question at the next start
            self.keep.write_text(json.dumps({**others, key: dict(answer)}), encoding="utf-8")


def _engine_devices(needs: str, answer: Any) -> EngineDevices:
    """The probe's answer as devices; anything odd in it is "not known"."""
    if not isinstance(answer, dict) or "error" in answer or not isinstance(answer.get("devices"), list):
        said = answer.get("error", "its answer makes no sense") if isinstance(answer, dict) else "no answer"
        return EngineDevices(None, f"What {needs} can compute on is not known: {said}.")
    found: list[Device] = []
    for one in answer["devices"]:
        try:
            total = one.get("total")
            found.append(Device(str(one["kind"]), int(one["index"]), str(one.get("name", "")),
                                int(total) if total else None, None, str(one.get("capability", ""))))  # fmt: skip
        except (AttributeError, KeyError, TypeError, ValueError):
            return EngineDevices(None, f"What {needs} can compute on is not known: its answer makes no sense.")
    return EngineDevices(tuple(found))


def _matched(seen: tuple[Device, ...], engine: tuple[Device, ...]) -> tuple[Device, ...]:
    """The engine's devices with the memory the machine knows of; a build for Vulkan uses the same card as CUDA's."""
    out: list[Device] = []
    for one in engine:
        same = [device for device in seen if (device.kind, device.index) == (one.kind, one.index)]
        near = same or [device for device in seen if device.name and device.name in one.name]
        if near:
            out.append(replace(near[0], kind=one.kind, index=one.index))
        else:
            out.append(one)
    return tuple(out)
