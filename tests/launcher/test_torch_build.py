"""PyTorch: the build that fits the machine, and when one that is there stays."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from modules.launcher import torch_build
from modules.launcher.console import Console, StepFailed
from modules.launcher.machine import Machine, NvidiaGpu
from modules.launcher.torch_build import choose_torch, install_torch
from tests.launcher.conftest import Checkout
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
    cuda = "None" if build == "cpu" else "'13.0'"
    body = f"BUILD = '{build}'\n__version__ = '{version}'\nclass version:\n    cuda = {cuda}\n".encode()
    make_wheel(checkout.index.root / folder, "torch", version, {"torch.py": body})


def bring(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, index: str,
    machine: Machine = LINUX, asked: str = "", keep: bool = False,
) -> str:  # fmt: skip
    """Install PyTorch with its CPU index at `index`; gives back what was said."""
    out = io.StringIO()
    monkeypatch.setattr(torch_build, "CPU", replace(torch_build.CPU, index=index))
    console = Console(out)
    chosen = choose_torch(machine, asked)
    install_torch(checkout.installer(console), console, chosen, keep=keep, asked=bool(asked))
    return out.getvalue()


def test_without_a_gpu_torch_comes_from_its_own_cpu_index(ready: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    torch_wheel(ready, "simple", "2.15.0", "cuda")
    torch_wheel(ready, "torch/cpu", "2.14.0+cpu", "cpu")
    ready.environ["PIP_EXTRA_INDEX_URL"] = f"{ready.index.url}/simple"
    said = bring(ready, monkeypatch, f"{ready.index.url}/torch/cpu")
    assert ready.installed(PRINT_BUILD) == "cpu"
    assert "PyTorch build: cpu (no NVIDIA driver" in said
    assert "PyTorch is in: 2.14.0+cpu (CPU)" in said


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


def both_builds(checkout: Checkout) -> str:
    """Both builds under one number, as PyTorch has them; gives the address of the CPU index."""
    torch_wheel(checkout, "simple", "2.15.0", "cuda")
    torch_wheel(checkout, "torch/cpu", "2.15.0+cpu", "cpu")
    return f"{checkout.index.url}/torch/cpu"


def test_a_build_that_is_there_is_neither_looked_for_nor_fetched_again(
    ready: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = both_builds(ready)
    bring(ready, monkeypatch, index)
    ready.index.requests.clear()
    assert "PyTorch is there already: 2.15.0+cpu (CPU)" in bring(ready, monkeypatch, index)
    assert ready.index.requests == []


def test_a_processor_build_gives_way_once_there_is_an_nvidia_gpu(
    ready: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip itself would keep it: 2.15.0+cpu counts as newer than 2.15.0."""
    index = both_builds(ready)
    bring(ready, monkeypatch, index)
    said = bring(ready, monkeypatch, index, NVIDIA)
    assert ready.installed(PRINT_BUILD) == "cuda"
    assert "takes the place of 2.15.0+cpu (CPU)" in said
    assert "PyTorch is in: 2.15.0 (CUDA 13.0)" in said


def test_a_build_the_person_chose_stays_until_another_one_is_named(
    ready: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = both_builds(ready)
    bring(ready, monkeypatch, index, LINUX, "default")
    bring(ready, monkeypatch, index, LINUX)
    assert ready.installed(PRINT_BUILD) == "cuda"
    bring(ready, monkeypatch, index, NVIDIA, "cpu")
    assert ready.installed(PRINT_BUILD) == "cpu"
    bring(ready, monkeypatch, index, NVIDIA, keep=True)
    assert ready.installed(PRINT_BUILD) == "cpu"


def test_a_disk_without_the_room_is_told_before_the_download(ready: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    index = both_builds(ready)
    monkeypatch.setattr("modules.launcher.installer.Installer.free_bytes", lambda installer: 2_000_000_000)
    with pytest.raises(StepFailed) as caught:
        bring(ready, monkeypatch, index, NVIDIA)
    assert caught.value.why == "the disk has 2000 MB free and this build needs about 8000 MB"
    assert ready.index.requests == []
    assert "PyTorch is in" in bring(ready, monkeypatch, index)


def lock_torch(checkout: Checkout, version: str) -> None:
    folder = checkout.layout.root / "requirements" / "lock"
    folder.mkdir()
    (folder / torch_build.VERSION_FILE).write_text(f"# why\ntorch=={version}\n")


def test_the_locked_version_is_taken_from_whichever_source_the_build_comes(
    ready: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock_torch(ready, "2.13.0")
    for version in ("2.13.0", "2.15.0"):
        torch_wheel(ready, "simple", version, "cuda")
        torch_wheel(ready, "torch/cpu", f"{version}+cpu", "cpu")
        torch_wheel(ready, "folder", f"{version}+cpu", "cpu")
    assert "PyTorch is in: 2.13.0+cpu" in bring(ready, monkeypatch, f"{ready.index.url}/torch/cpu")
    assert "PyTorch is in: 2.13.0 (CUDA 13.0)" in bring(ready, monkeypatch, "", NVIDIA)
    ready.environ["PIP_FIND_LINKS"] = str(ready.index.root / "folder")
    assert "sources hold torch==2.13.0+cpu" in bring(ready, monkeypatch, "http://127.0.0.1:9/cpu", asked="cpu")


def test_an_index_without_the_locked_version_gives_its_newest_which_is_said(
    ready: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock_torch(ready, "2.15.0")
    torch_wheel(ready, "torch/cpu", "2.13.0+cpu", "cpu")
    said = bring(ready, monkeypatch, f"{ready.index.url}/torch/cpu")
    assert "has no torch 2.15.0, the tested version" in said
    assert "PyTorch is in: 2.13.0+cpu" in said
