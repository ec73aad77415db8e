"""Which loader opens a model on which machine, and what is said."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping
from typing import Any

import pytest

from loaders import Registry, echo
from loaders.base import LoaderSpec
from modules.errors import Unsupported
from modules.hardware.values import Device, Hardware
from modules.models.loader_choice import pick_loader

CARD = Device("cuda", 0, "Card A", 24, 20, "8.9")


@dataclasses.dataclass
class Model:
    """A model of the catalogue."""

    name: str = "some model"
    format: str = "gguf"
    builtin: bool = False
    loaders: tuple[str, ...] = ("first", "second")
    installs: Mapping[str, str] = dataclasses.field(default_factory=dict)


def spec(name: str, **more: Any) -> LoaderSpec:
    return dataclasses.replace(echo.SPEC, name=name, builtin_models=(), formats=("gguf",), **more)


def machine(*devices: Device, features: tuple[str, ...] = ("avx2", "fma", "f16c"), **more: Any) -> Hardware:
    return Hardware(8, 100, 50, devices, features, **more)


def pick(model: Model, hardware: Hardware, *specs: LoaderSpec, missing: tuple[str, ...] = ()) -> Any:
    return pick_loader(model, hardware, Registry(specs), lambda one: one.name not in missing)


def test_the_first_that_is_installed_is_taken_and_the_others_are_named() -> None:
    chosen = pick(Model(), machine(), spec("first"), spec("second"))
    assert chosen.value.name == "first"
    assert chosen.why == "first comes first for GGUF models; second could open it too."
    chosen = pick(Model(), machine(), spec("first"), spec("second"), missing=("first",))
    assert chosen.value.name == "second"
    assert "only loader here" in chosen.why
    assert "first: it is not installed" in chosen.why


def test_a_loader_without_its_card_gives_way_and_says_why() -> None:
    cuda = spec("first", hardware=("cuda",))
    chosen = pick(Model(), machine(), cuda, spec("second"))
    assert chosen.value.name == "second"
    assert "first: it needs an NVIDIA graphics card, and there is none" in chosen.why
    assert pick(Model(), machine(CARD), cuda, spec("second")).value.name == "first"


def test_a_card_that_may_be_there_is_no_reason_to_refuse() -> None:
    unsure = machine(unknown=("NVIDIA's driver did not answer.",))
    assert pick(Model(), unsure, spec("first", hardware=("cuda",)), spec("second")).value.name == "first"


def test_an_engine_the_processor_cannot_run_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    llama = spec("first", needs="xllamacpp")
    old = machine(features=("sse4_2", "fma"))
    chosen = pick(Model(), old, llama, spec("second"))
    assert chosen.value.name == "second"
    assert "lacks avx2, f16c" in chosen.why
    assert pick(Model(), machine(features=()), llama, spec("second")).value.name == "first"
    with pytest.raises(Unsupported) as failed:
        pick(Model(loaders=("first",)), old, llama)
    assert "llama-server" in failed.value.hint


def test_no_loader_says_what_to_install_or_which_format_to_get() -> None:
    with pytest.raises(Unsupported) as failed:
        pick(Model(), machine(), spec("first", requirements="one"), spec("second"), missing=("first", "second"))
    assert failed.value.code == "no_loader"
    assert "start.py install one" in failed.value.hint
    with pytest.raises(Unsupported) as failed:
        pick(Model(format="onnx", loaders=()), machine())
    assert "ONNX" in failed.value.message
    assert "GGUF" in failed.value.hint
    with pytest.raises(Unsupported) as failed:
        pick(Model(loaders=("first",)), machine(), spec("first", hardware=("cuda", "rocm")))
    assert "an NVIDIA graphics card or an AMD graphics card with ROCm" in failed.value.message
    assert "GGUF" in failed.value.hint


def test_a_built_in_model_has_its_loader() -> None:
    chosen = pick(Model(builtin=True, loaders=("first",)), machine(), spec("first"))
    assert "built into the loader first" in chosen.why
