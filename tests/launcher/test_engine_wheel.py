"""Installing the engine's build from an index of its own, here a local one, and the ways it goes wrong."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from modules.launcher.console import Console
from modules.launcher.engine_wheel import EngineInstaller, wanted
from modules.launcher.machine import Machine, NvidiaGpu
from modules.launcher.stamp import Engine, read_stamp
from tests.launcher.conftest import Checkout
from tests.launcher.local_index import make_wheel

LINUX = Machine("Linux", "x86_64", glibc=(2, 39), avx2=True)
NVIDIA = replace(LINUX, nvidia_driver=(595, 10), nvidia_gpus=(NvidiaGpu("NVIDIA L4", (8, 9)),))
DEVICES = b"\ndef get_device_info():\n    return [{'name': 'CPU'}, {'name': 'CUDA0', 'description': 'NVIDIA L4'}]\n"
REQUIREMENT = "xllamacpp==1.0"


def gpu_wheel(checkout: Checkout, index: str, version: str = "1.0", body: bytes = DEVICES) -> None:
    files = {"xllamacpp.py": f"BUILD = '{index}'\n".encode() + body}
    make_wheel(checkout.index.root / "engine" / index, "xllamacpp", version, files)


def install(
    checkout: Checkout, machine: Machine, asked: str, recorded: Engine | None = None, *, rest: bool = False
) -> tuple[Engine, str]:
    """Choose and install, with `rest` also requirements/base.txt; gives the record and what was said."""
    out = io.StringIO()
    console = Console(out)
    installer = checkout.installer(console)
    engines = EngineInstaller(checkout.layout, installer, console, checkout.environ)
    engine = engines.install(machine, asked, recorded)
    if rest:
        installer.install_file(checkout.layout.requirements("base"))
    engines.check(engine.kind)
    return engine, out.getvalue()


def build(checkout: Checkout) -> str:
    return checkout.installed("import xllamacpp; print(xllamacpp.BUILD)")


def test_the_gpu_build_comes_from_its_own_index_and_stays_when_the_rest_is_installed(ready: Checkout) -> None:
    gpu_wheel(ready, "cu132")
    engine, said = install(ready, NVIDIA, "auto", rest=True)
    assert build(ready) == "cu132"
    assert (engine.kind, engine.index) == ("cuda", "cu132")
    assert "Engine build: cuda (NVIDIA L4 with NVIDIA driver 595.10)" in said
    assert "The engine sees: NVIDIA L4" in said


def test_an_extra_index_of_the_person_does_not_slip_in_the_cpu_build(ready: Checkout) -> None:
    gpu_wheel(ready, "cu132")
    ready.environ["PIP_EXTRA_INDEX_URL"] = f"{ready.index.url}/simple"
    ready.environ["PIP_FIND_LINKS"] = str(ready.index.root / "simple")
    install(ready, NVIDIA, "auto")
    assert build(ready) == "cu132"


def test_without_a_gpu_the_build_of_the_default_index_is_taken(ready: Checkout) -> None:
    engine, said = install(ready, LINUX, "auto", rest=True)
    assert build(ready) == "cpu"
    assert engine == Engine("auto", "cpu", "", REQUIREMENT, "no GPU was found")
    assert "no GPU was found" in said
    assert not any(path.startswith("/engine") for path in ready.index.requests)


def test_a_driver_that_is_too_old_means_cpu_and_is_said(ready: Checkout) -> None:
    engine, said = install(ready, replace(NVIDIA, nvidia_driver=(470, 82)), "auto", rest=True)
    assert (engine.kind, build(ready)) == ("cpu", "cpu")
    assert "470.82 is too old" in said


def test_an_unreachable_index_means_cpu_and_is_said(ready: Checkout) -> None:
    ready.environ["ENGINEHOUSE_ENGINE_INDEX"] = "http://127.0.0.1:9/engine"
    engine, said = install(ready, NVIDIA, "auto")
    assert (engine.kind, build(ready)) == ("cpu", "cpu")
    assert "http://127.0.0.1:9/engine/cu132 does not answer" in said
    assert "--engine auto tries again" in said
    assert "not taken" in engine.why


def test_an_index_without_this_version_means_cpu_and_names_the_newest(ready: Checkout) -> None:
    gpu_wheel(ready, "cu132", version="0.9")
    engine, said = install(ready, NVIDIA, "auto")
    assert (engine.kind, build(ready)) == ("cpu", "cpu")
    assert "has no xllamacpp==1.0" in said
    assert "newest: 0.9" in said


def test_a_gpu_build_that_does_not_load_is_replaced_by_the_cpu_build(ready: Checkout) -> None:
    gpu_wheel(ready, "cu132", body=b"raise ImportError('libcuda.so.1: cannot open shared object file')\n")
    engine, said = install(ready, NVIDIA, "auto")
    assert (engine.kind, build(ready)) == ("cpu", "cpu")
    assert "libcuda.so.1" in said


def test_a_gpu_build_that_crashes_the_interpreter_is_replaced_too(ready: Checkout) -> None:
    gpu_wheel(ready, "cu132", body=b"import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    engine, said = install(ready, NVIDIA, "auto")
    assert (engine.kind, build(ready)) == ("cpu", "cpu")
    assert "most likely AVX2" in said


def test_a_gpu_build_that_sees_no_gpu_is_kept_and_that_is_said(ready: Checkout) -> None:
    gpu_wheel(ready, "vulkan", body=b"\ndef get_device_info():\n    return [{'name': 'CPU'}]\n")
    engine, said = install(ready, LINUX, "vulkan")
    assert (engine.kind, build(ready)) == ("vulkan", "vulkan")
    assert "sees no GPU" in said


def test_going_back_from_gpu_to_cpu_replaces_the_build(ready: Checkout) -> None:
    gpu_wheel(ready, "cu132")
    engine, _ = install(ready, NVIDIA, "auto")
    install(ready, NVIDIA, "cpu", engine)
    assert build(ready) == "cpu"


RECORDED = Engine("auto", "cpu", "", REQUIREMENT, "the index did not answer")


@pytest.mark.parametrize(
    ("recorded", "asked", "requirement", "expected"),
    [
        (None, "", REQUIREMENT, "auto"),
        (None, "cuda", REQUIREMENT, "cuda"),
        (RECORDED, "", REQUIREMENT, ""),  # a fallback is remembered
        (RECORDED, "auto", REQUIREMENT, "auto"),  # and tried again when asked
        (RECORDED, "vulkan", REQUIREMENT, "vulkan"),
        (replace(RECORDED, asked="cuda"), "cuda", REQUIREMENT, ""),
        (RECORDED, "", "xllamacpp==2.0", "auto"),
        (replace(RECORDED, asked="cuda"), "", "xllamacpp==2.0", "cuda"),
    ],
)
def test_what_is_looked_for_follows_from_what_is_recorded(
    recorded: Engine | None, asked: str, requirement: str, expected: str
) -> None:
    assert wanted(recorded, asked, requirement) == expected


def test_through_the_command_a_fallback_is_remembered_and_auto_tries_again(ready: Checkout) -> None:
    first = ready.start("--no-starter", "--end-with", "0", "--engine", "vulkan")
    assert "Taking the CPU build" in first.stdout
    assert read_stamp(ready.layout.stamp).engine == Engine(
        "vulkan", "cpu", "", REQUIREMENT, read_stamp(ready.layout.stamp).engine.why  # type: ignore[union-attr]
    )  # fmt: skip
    gpu_wheel(ready, "vulkan", body=b"")
    ready.index.requests.clear()
    assert ready.start("--no-starter", "--end-with", "0").returncode == 0
    assert ready.start("--no-starter", "--end-with", "0", "--engine", "vulkan").returncode == 0
    assert ready.index.requests == []
    assert ready.start("--no-starter", "--end-with", "0", "--engine", "auto").returncode == 0
    assert ready.start("--no-starter", "--end-with", "0", "--engine", "vulkan").returncode == 0
    assert build(ready) == "vulkan"
