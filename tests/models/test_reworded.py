"""Rewording what people read changes no decision: every text is garbled, and everything is decided as before."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loaders import Registry
from loaders.base import LoaderSpec
from modules.errors import BadParameter, LoadFailed
from modules.estimates.corrections import Correction, corrected
from modules.estimates.gguf import estimate_gguf
from modules.formats import problems
from modules.formats.problems import Reason
from modules.hardware.values import Hardware
from modules.models import auxiliary_files
from modules.models.catalog import Catalog
from modules.models.fallback import find_fallback, looks_like_memory
from modules.models.loader_choice import pick_loader
from tests.estimates.making import GB, big, machine
from tests.gguf_maker import LLAMA, write
from tests.model_maker import LFS, hf_folder, old_ggml, peft_folder, safetensors, torch_zip

LLAMA_CPP: LoaderSpec = Registry().get("llama.cpp")


def garbled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every text of the table backwards, all with the same beginning, and without what it names."""
    table = {code: tuple(f"Word. {text[::-1]}" for text in texts) for code, texts in problems.TEXTS.items()}
    plain = {code: tuple(text.replace("{", "(").replace("}", ")") for text in texts) for code, texts in table.items()}
    monkeypatch.setattr(problems, "TEXTS", plain)


def reworded_ladder(spec: LoaderSpec) -> LoaderSpec:
    return dataclasses.replace(
        spec, ladder=tuple(dataclasses.replace(step, says="Less is more.") for step in spec.ladder)
    )


def models(folder: Path) -> Path:
    write(folder / "llama/model.gguf", metadata=LLAMA)
    write(folder / "llama/mmproj-F16.gguf", metadata={"general.architecture": "clip", "clip.has_vision_encoder": True})
    write(folder / "lora.gguf", metadata={"general.architecture": "llama", "adapter.type": "lora",
                                          "general.type": "adapter"},
          tensors=[("blk.0.attn_q.weight.lora_a", (64, 4), 0)])  # fmt: skip
    write(folder / "bert.gguf", metadata={**LLAMA, "general.architecture": "bert"})
    old = hf_folder(folder / "old")
    (old / "model.safetensors").unlink()
    (old / "pytorch_model.bin").write_bytes(torch_zip())
    hf_folder(folder / "plain")
    peft_folder(folder / "peft")
    (folder / "lone.safetensors").write_bytes(safetensors())
    (folder / "pointer.gguf").write_text(LFS)
    (folder / "ggml.bin").write_bytes(old_ggml(b"tjgg", 32000, 4096, 256, 32, 32, 128, 2))
    return folder


def decided(folder: Path) -> dict[str, Any]:
    """All that is decided about these models, without a word for people."""
    out: dict[str, Any] = {}
    for allowed in (False, True):
        catalog = Catalog(folder, Registry(), allow_pickle=allowed)
        for one in catalog.scan():
            key = f"{one.name} {allowed}"
            out[key] = (one.runnable, one.reason_code, one.kind, one.loaders, one.capabilities, dict(one.installs))
        model = catalog.get("llama/model")
        chosen = auxiliary_files.resolve(catalog, LLAMA_CPP, LLAMA_CPP.check_settings({"lora": "lora"}), model)
        out[f"files {allowed}"] = {name: [file.name for file in files] for name, files in chosen.files.items()}
        offered = auxiliary_files.offered(catalog, "adapter", model)
        out[f"offered {allowed}"] = [one.name for one in offered]
        out[f"loader {allowed}"] = pick_loader(
            model, Hardware(4, 8 * GB, 6 * GB), Registry(), lambda spec: True
        ).value.name
        with pytest.raises(BadParameter):
            auxiliary_files.resolve(catalog, LLAMA_CPP, LLAMA_CPP.check_settings({"mmproj": "lora"}), model)
    return out


def test_the_catalogue_decides_the_same_whatever_its_texts_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = models(tmp_path)
    before = decided(folder)
    assert before["llama/model False"][4][0] == "images"
    assert (before["old False"][0], before["old True"][0]) == (False, True)
    garbled(monkeypatch)
    assert decided(folder) == before


def fallback_of(spec: LoaderSpec) -> Any:
    facts, hardware = big(), machine(free=19 * GB)
    found = find_fallback(spec, facts, spec.check_settings({"context": 65536}),
                          lambda tried: estimate_gguf(facts, tried, hardware))  # fmt: skip
    assert found is not None
    return found.settings, [(one.name, one.was, one.now) for one in found.changes]


def test_a_smaller_load_is_found_by_settings_and_codes() -> None:
    assert fallback_of(reworded_ladder(LLAMA_CPP)) == fallback_of(LLAMA_CPP)
    assert looks_like_memory(LoadFailed("Reworded.", code="out_of_memory"))
    assert not looks_like_memory(LoadFailed("Memory ran out: not enough memory."))
    assert looks_like_memory(LoadFailed("Reworded."), "ggml: failed to allocate buffer")


def test_a_correction_needs_no_words_of_the_estimate() -> None:
    hardware = machine(free=19 * GB)
    estimate = estimate_gguf(big(), LLAMA_CPP.check_settings({"context": 65536}), hardware)
    other = dataclasses.replace(estimate, why="Reworded.")
    one, two = (corrected(made, Correction(1.2, 3), hardware) for made in (estimate, other))
    assert (one.shares, one.verdict, one.why) == (two.shares, two.verdict, two.why)


def test_every_reason_has_a_text_and_every_text_can_be_made() -> None:
    assert set(problems.TEXTS) == set(Reason)
    inner = problems.Problem.of(Reason.EMPTY)

    class Anything(dict[str, object]):
        def __missing__(self, name: str) -> object:
            return inner

    render: Callable[[str], str] = lambda text: text.format_map(Anything())  # noqa: E731
    for message, hint in problems.TEXTS.values():
        assert render(message)
        assert "{" not in render(hint)
