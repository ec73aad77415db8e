"""Adding a loader: the refusals, what is said."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from loaders import Registry
from modules.launcher.console import Console, StepFailed
from modules.launcher.extras import LOADERS, selected, unfit
from modules.launcher.machine import Machine, NvidiaGpu
from tests.launcher.conftest import ROOT

LINUX = Machine("Linux", "x86_64", glibc=(2, 39))
NVIDIA = replace(LINUX, nvidia_driver=(580, 65), nvidia_gpus=(NvidiaGpu("NVIDIA L4", (8, 9)),))
MAC = Machine("Darwin", "arm64")
WINDOWS = Machine("Windows", "x86_64")


@pytest.mark.parametrize("name", ["exllamav2", "exllamav3"])
def test_exllama_is_refused_without_an_nvidia_gpu_and_force_overrides(name: str) -> None:
    console = Console(io.StringIO())
    for machine in (LINUX, MAC, WINDOWS):
        assert "NVIDIA GPUs only" in unfit(name, machine)
        with pytest.raises(StepFailed) as caught:
            selected((name,), machine, force=False, console=console)
        assert "--force" in caught.value.hint
        assert selected((name,), machine, force=True, console=console) == [name]
    assert unfit(name, NVIDIA) == ""


def test_all_leaves_out_what_cannot_work_here_and_says_so() -> None:
    out = io.StringIO()
    assert selected(("all",), LINUX, force=False, console=Console(out)) == ["transformers", "llama-cpp-python"]
    assert "Leaving out exllamav3" in out.getvalue()
    assert selected(("all",), NVIDIA, force=False, console=Console(out)) == list(LOADERS)


@pytest.mark.parametrize(
    ("machine", "seen"),
    [
        (LINUX, "neither an NVIDIA driver nor a GPU was found here"),
        (replace(LINUX, vendors=frozenset({"amd", "intel"})), "this machine has AMD and Intel graphics"),
        (replace(LINUX, vendors=frozenset({"nvidia"})), "no NVIDIA driver: install that first"),
        (replace(LINUX, nvidia_error="No devices were found"), "nvidia-smi reports: No devices were found"),
    ],
)
def test_the_refusal_says_what_was_found_instead_of_an_nvidia_gpu(machine: Machine, seen: str) -> None:
    assert seen in unfit("exllamav3", machine)


def test_every_loader_has_its_requirements_file() -> None:
    assert all((ROOT / "requirements" / f"{name}.txt").is_file() for name in LOADERS)


@pytest.mark.parametrize("name", ["llama-cpp-python", "exllamav2", "exllamav3"])
def test_what_is_installed_is_what_a_loader_asks_for(name: str) -> None:
    spec = Registry().get(name)
    assert spec.requirements == name
    assert LOADERS[name].nvidia == (spec.hardware == ("cuda",))
    lines = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    assert any(line.replace("-", "_").startswith((spec.needs, name.replace("-", "_"))) for line in lines)
