"""A loader that is compiled on the machine: with a compiler, without one, with flags, with a fault."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from modules.launcher import compiled
from modules.launcher.compiled import build_from_source
from modules.launcher.console import Console, StepFailed
from modules.launcher.machine import Machine, NvidiaGpu
from tests.launcher.conftest import Checkout
from tests.launcher.local_index import make_wheel

LINUX = Machine("Linux", "x86_64", glibc=(2, 39))
NAME = "llama-cpp-python"
PRINT_BUILD = "import llama_cpp; print(llama_cpp.BUILD)"
# A build backend as small as they come: it says what a compiler would, and notes the flags it was given.
BACKEND = """
import os, pathlib, sys, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    flags = os.environ.get("CMAKE_ARGS", "none")
    print("[1/2] c++ -c a.cpp", flush=True)
    if "BROKEN" in flags:
        sys.exit("a.cpp:1:1: error: nothing works")
    print("[2/2] c++ a.o", flush=True)
    info = "llama_cpp_python-0.3.36.dist-info/"
    name = "llama_cpp_python-0.3.36-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder) / name, "w") as wheel:
        wheel.writestr("llama_cpp.py", f"BUILD = {flags!r}")
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: llama-cpp-python\\nVersion: 0.3.36\\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "RECORD", "")
    return name
"""
PROJECT = "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"


@pytest.fixture
def source(ready: Checkout) -> Checkout:
    """The checkout with the package as source only, in a folder that pip is set up with."""
    folder = ready.layout.root / "sources"
    folder.mkdir()
    stem = "llama_cpp_python-0.3.36"
    texts = {"pyproject.toml": PROJECT, "backend.py": BACKEND, "PKG-INFO": f"Name: {NAME}\nVersion: 0.3.36\n"}
    with tarfile.open(folder / f"{stem}.tar.gz", "w:gz") as archive:
        for name, text in texts.items():
            entry = tarfile.TarInfo(f"{stem}/{name}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    (ready.layout.root / "requirements" / f"{NAME}.txt").write_text(f"{NAME}>=0.3.30,<0.4\n")
    ready.environ.update({"PIP_FIND_LINKS": str(folder), "PIP_NO_INDEX": "1"})
    return ready


def compiler(folder: Path) -> str:
    """A folder for PATH that has something by the name of a compiler."""
    folder.mkdir(exist_ok=True)
    (folder / "c++").write_text("#!/bin/sh\n")
    (folder / "c++").chmod(0o755)
    return str(folder)


def build(checkout: Checkout, environ: dict[str, str], machine: Machine = LINUX) -> str:
    """Build as the launcher does under these environment variables; gives back what was said."""
    out = io.StringIO()
    console = Console(out)
    checkout.environ.pop("CMAKE_ARGS", None)
    checkout.environ.update({key: value for key, value in environ.items() if key != "PATH"})
    requirements = checkout.layout.requirements(NAME)
    build_from_source(NAME, requirements, checkout.installer(console), machine, console, environ)
    return out.getvalue()


def test_without_a_compiler_a_ready_made_build_is_taken(ready: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(compiled.READY_MADE, NAME, f"{ready.index.url}/lcp")
    make_wheel(ready.index.root / "lcp", NAME, "0.3.40", {"llama_cpp.py": b"BUILD = 'ready made'\n"})
    (ready.layout.root / "requirements" / f"{NAME}.txt").write_text(f"{NAME}>=0.3.30\n")
    assert "No C++ compiler was found" in build(ready, {"PATH": "/nowhere"})
    assert ready.installed(PRINT_BUILD) == "ready made"


@pytest.mark.parametrize(("system", "command"), [("Linux", "apt install build-essential"), ("Darwin", "xcode-select")])
def test_without_either_it_is_said_how_to_get_a_compiler(source: Checkout, system: str, command: str) -> None:
    with pytest.raises(StepFailed) as caught:
        build(source, {"PATH": "/nowhere"}, replace(LINUX, system=system))
    assert "no ready-made build" in caught.value.why
    assert "install a C++ compiler first" in caught.value.hint
    assert command in caught.value.hint


def test_with_a_compiler_it_is_built_and_its_steps_are_in_the_log(source: Checkout, tmp_path: Path) -> None:
    said = build(source, {"PATH": compiler(tmp_path / "bin")})
    assert "is compiled on this machine" in said
    assert source.installed(PRINT_BUILD) == "none"
    assert "[2/2] c++ a.o" in source.layout.log.read_text()


def test_other_flags_lead_to_another_build_though_one_is_installed(source: Checkout, tmp_path: Path) -> None:
    path = compiler(tmp_path / "bin")
    build(source, {"PATH": path})
    said = build(source, {"PATH": path, "CMAKE_ARGS": "-DGGML_CUDA=on"})
    assert "with CMAKE_ARGS=-DGGML_CUDA=on" in said
    assert source.installed(PRINT_BUILD) == "-DGGML_CUDA=on"
    build(source, {"PATH": path})
    assert source.installed(PRINT_BUILD) == "-DGGML_CUDA=on"


def test_a_failed_build_shows_the_compilers_error_and_keeps_the_former_one(source: Checkout, tmp_path: Path) -> None:
    path = compiler(tmp_path / "bin")
    build(source, {"PATH": path})
    with pytest.raises(StepFailed) as caught:
        build(source, {"PATH": path, "CMAKE_ARGS": "-DBROKEN"})
    assert caught.value.why.startswith("the build failed")
    assert "a.cpp:1:1: error: nothing works" in caught.value.detail[0]
    assert "now: -DBROKEN" in caught.value.hint
    assert source.installed(PRINT_BUILD) == "none"


def test_a_tool_of_the_build_that_cannot_be_downloaded_is_told_as_such(source: Checkout, tmp_path: Path) -> None:
    (tmp_path / "sdist").mkdir()
    with tarfile.open(next((source.layout.root / "sources").glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path / "sdist", filter="data")
    project = next((tmp_path / "sdist").glob("*/pyproject.toml"))
    project.write_text(PROJECT.replace("[]", "['no-such-tool']"))
    with tarfile.open(next((source.layout.root / "sources").glob("*.tar.gz")), "w:gz") as archive:
        archive.add(project.parent, project.parent.name)
    with pytest.raises(StepFailed) as caught:
        build(source, {"PATH": compiler(tmp_path / "bin")})
    assert "the build failed, a package for it could not be downloaded" in caught.value.why
    assert any("no-such-tool" in line for line in caught.value.detail)
    assert "CMAKE_ARGS" not in caught.value.hint


def test_with_an_nvidia_gpu_the_flags_for_it_are_named(source: Checkout, tmp_path: Path) -> None:
    nvidia = replace(LINUX, nvidia_driver=(580, 65), nvidia_gpus=(NvidiaGpu("NVIDIA L4", (8, 9)),))
    path = compiler(tmp_path / "bin")
    assert "CMAKE_ARGS=-DGGML_CUDA=on python3 start.py install" in build(source, {"PATH": path}, nvidia)
    assert "GGML_CUDA=on python3" not in build(source, {"PATH": path})
