"""Adding a loader: the PyTorch build, the refusals, what is said."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from modules.launcher import torch_build
from modules.launcher.console import Console, StepFailed
from modules.launcher.extras import LOADERS, install_loader, selected, unfit
from modules.launcher.machine import Machine, NvidiaGpu
from modules.launcher.torch_build import choose_torch, install_torch
from tests.launcher.conftest import ROOT, Checkout
from tests.launcher.local_index import make_wheel

LINUX = Machine("Linux", "x86_64", glibc=(2, 39))
NVIDIA = replace(LINUX, nvidia_driver=(580, 65), nvidia_gpus=(NvidiaGpu("NVIDIA L4", (8, 9)),))
MAC = Machine("Darwin", "arm64")
WINDOWS = Machine("Windows", "x86_64")
PRINT_BUILD = "import torch; print(torch.BUILD)"


@pytest.mark.parametrize(
    ("machine", "asked", "name", "end"),
    [
        (LINUX, "", "cpu", "/cpu"),
        (NVIDIA, "", "default", ""),
        (replace(NVIDIA, nvidia_driver=(550, 1)), "", "cuda", "/cu126"),
        (replace(NVIDIA, nvidia_driver=(470, 1)), "", "cpu", "/cpu"),
        (MAC, "", "default", ""),
        (MAC, "cpu", "default", ""),
        (WINDOWS, "", "default", ""),
        (replace(WINDOWS, nvidia_driver=(580, 1)), "", "cuda", "/cu130"),
        (NVIDIA, "cpu", "cpu", "/cpu"),
        (LINUX, "default", "default", ""),
        (LINUX, "cuda", "default", ""),
        (LINUX, "https://mirror.example/torch", "custom", "https://mirror.example/torch"),
    ],
)
def test_the_torch_build_fits_the_machine(machine: Machine, asked: str, name: str, end: str) -> None:
    chosen = choose_torch(machine, asked)
    assert chosen.value.name == name
    assert chosen.value.index.endswith(end)
    assert bool(chosen.value.index) == bool(end)
    assert chosen.why


def test_a_torch_build_that_does_not_exist_is_refused() -> None:
    with pytest.raises(StepFailed):
        choose_torch(LINUX, "gpu")


def torch_wheel(checkout: Checkout, folder: str, version: str, build: str) -> None:
    cuda = "class cuda:\n    is_available = staticmethod(lambda: False)\n"
    body = f"BUILD = '{build}'\n__version__ = '{version}'\n{cuda}".encode()
    make_wheel(checkout.index.root / folder, "torch", version, {"torch.py": body})


def bring(checkout: Checkout, monkeypatch: pytest.MonkeyPatch, index: str) -> str:
    out = io.StringIO()
    build = replace(torch_build.CPU, index=index)
    monkeypatch.setattr(torch_build, "CPU", build)
    console = Console(out)
    install_torch(checkout.installer(console), console, choose_torch(LINUX, ""))
    return out.getvalue()


def test_without_a_gpu_torch_comes_from_its_own_cpu_index(ready: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    torch_wheel(ready, "simple", "2.15.0", "cuda")
    torch_wheel(ready, "torch/cpu", "2.14.0+cpu", "cpu")
    ready.environ["PIP_EXTRA_INDEX_URL"] = f"{ready.index.url}/simple"
    said = bring(ready, monkeypatch, f"{ready.index.url}/torch/cpu")
    assert ready.installed(PRINT_BUILD) == "cpu"
    assert "PyTorch build: cpu (no NVIDIA driver" in said
    assert "2.14.0+cpu CPU" in said


def test_where_that_index_is_unreachable_a_cpu_build_among_the_persons_sources_will_do(
    ready: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch_wheel(ready, "simple", "2.15.0", "cuda")
    torch_wheel(ready, "folder", "2.13.0+cpu", "cpu")
    ready.environ["PIP_FIND_LINKS"] = str(ready.index.root / "folder")
    said = bring(ready, monkeypatch, "http://127.0.0.1:9/cpu")
    assert ready.installed(PRINT_BUILD) == "cpu"
    assert "your package sources hold torch==2.13.0+cpu" in said


def test_the_wrong_three_gigabytes_are_not_taken_unasked(ready: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    torch_wheel(ready, "simple", "2.15.0", "cuda")
    with pytest.raises(StepFailed) as caught:
        bring(ready, monkeypatch, "http://127.0.0.1:9/cpu")
    assert "--torch default" in caught.value.hint
    assert "ModuleNotFoundError" in ready.installed(PRINT_BUILD)


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


def test_without_a_compiler_a_ready_made_build_is_looked_for(ready: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("modules.launcher.extras.LLAMA_CPP_PYTHON_INDEX", f"{ready.index.url}/lcp")
    make_wheel(ready.index.root / "lcp", "llama-cpp-python", "0.3.40", {"llama_cpp.py": b"BUILD = 'ready made'\n"})
    (ready.layout.root / "requirements" / "llama-cpp-python.txt").write_text("llama-cpp-python>=0.3.30\n")
    out = io.StringIO()
    console = Console(out)
    install_loader("llama-cpp-python", ready.layout, ready.installer(console), LINUX, console, "")
    assert "No C++ compiler was found" in out.getvalue()
    assert ready.installed("import llama_cpp; print(llama_cpp.BUILD)") == "ready made"


def test_every_loader_has_its_requirements_file() -> None:
    assert all((ROOT / "requirements" / f"{name}.txt").is_file() for name in LOADERS)
