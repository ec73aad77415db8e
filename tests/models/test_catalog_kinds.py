"""One entry for each model whatever it is made of, and none for what belongs to another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from loaders import Registry
from loaders.base import LoaderSpec
from modules.api.models import file_dict
from modules.models.catalog import Catalog
from modules.models.model_file import ModelFile
from tests.gguf_maker import LLAMA, write
from tests.model_maker import LFS, LLAMA_CONFIG, hf_folder, old_ggml, peft_folder, safetensors, torch_zip

PIPELINE = '{"_class_name": "StableDiffusionPipeline", "text_encoder": ["transformers", "CLIPTextModel"]}'


def spec(name: str, *formats: str, needs: str = "") -> LoaderSpec:
    return LoaderSpec(name, name, formats, (), {}, frozenset(), f"loaders.{name}:load", needs, name)


SPECS = (spec("llama.cpp", "gguf"), spec("hf", "safetensors", "gptq", "pickle", needs="no_such_package"),
         spec("hf2", "safetensors", "pickle"), spec("far", "endpoint"))  # fmt: skip


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    (tmp_path / "models").mkdir()
    return Catalog(tmp_path / "models", Registry(SPECS))


def found(catalog: Catalog) -> dict[str, ModelFile]:
    return {one.name: one for one in catalog.scan()}


def test_a_folder_is_one_entry_whatever_lies_below_it(catalog: Catalog) -> None:
    root = catalog.models_dir
    embedder = hf_folder(root / "maker/embedder", modules__json='[{"path": "2_Dense", "type": "x.Dense"}]')
    hf_folder(embedder / "2_Dense")
    picture = root / "picture"
    hf_folder(picture / "text_encoder")
    (picture / "model_index.json").write_text(PIPELINE)
    llama = hf_folder(root / "llama", parts=2)
    (llama / "original").mkdir()
    (llama / "original/consolidated.00.pth").write_bytes(torch_zip())
    (llama / "onnx").mkdir()
    (llama / "onnx/model.onnx").write_bytes(b"\x08\x08\x12\x01x")
    (llama / "training_args.bin").write_bytes(torch_zip())
    (llama / "gguf").mkdir()
    write(llama / "gguf/small.gguf")
    peft_folder(llama / "checkpoint-5")
    assert sorted(found(catalog)) == ["llama", "llama/checkpoint-5", "llama/gguf/small", "maker/embedder", "picture"]


def test_loose_files_of_any_ending_are_known_by_what_is_in_them(catalog: Catalog) -> None:
    root = catalog.models_dir
    (root / "ggml-model-q4_0.bin").write_bytes(old_ggml(b"tjgg", 32000, 4096, 256, 32, 32, 128, 2, version=3))
    (root / "notes.bin").write_bytes(b"hello")
    (root / "optimizer.pt").write_bytes(torch_zip())
    (root / "loose.safetensors").write_bytes(safetensors())
    (root / "far.endpoint.yaml").write_text("url: http://127.0.0.1:9\n")
    for number in (1, 3):
        (root / f"part-{number:05}-of-00003.safetensors").write_bytes(safetensors())
    entries = found(catalog)
    assert {name: one.format for name, one in entries.items()} == {
        "ggml-model-q4_0": "ggml", "loose": "safetensors", "far": "endpoint", "part": "safetensors",
    }  # fmt: skip
    assert entries["far"].runnable
    assert entries["far"].loaders == ("far",)
    assert "part 2 is missing" in entries["part"].reason
    assert catalog.get("far.endpoint.yaml").name == "far"
    assert catalog.get("loose.safetensors").name == "loose"


def test_a_folder_that_only_has_what_goes_around_weights_says_they_are_missing(catalog: Catalog) -> None:
    (hf_folder(catalog.models_dir / "empty") / "model.safetensors").unlink()
    (hf_folder(catalog.models_dir / "coming") / "model.safetensors").rename(
        catalog.models_dir / "coming/model.safetensors.part"
    )
    (catalog.models_dir / "quants").mkdir()
    (catalog.models_dir / "quants/config.json").write_text(json.dumps(LLAMA_CONFIG))
    write(catalog.models_dir / "quants/a.gguf")
    entries = found(catalog)
    assert sorted(entries) == ["coming", "empty", "quants/a"]
    assert "no weights in this folder" in entries["empty"].reason
    assert entries["coming"].reason == "It is still being downloaded."


def test_loaders_that_are_not_installed_are_named_with_their_command(catalog: Catalog) -> None:
    hf_folder(catalog.models_dir / "m")
    model = catalog.get("m")
    assert (model.runnable, model.loaders) == (True, ("hf", "hf2"))
    assert dict(model.installs) == {"hf": "python start.py install hf"}


def test_pickles_run_only_when_they_are_allowed(catalog: Catalog) -> None:
    folder = hf_folder(catalog.models_dir / "old")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(torch_zip())
    assert "--allow-pickle" in catalog.get("old").reason
    trusting = Catalog(catalog.models_dir, catalog._registry, allow_pickle=True)
    assert trusting.get("old").runnable
    (folder / "pytorch_model.bin").write_text(LFS)
    assert "Git LFS" in trusting.get("old").reason


def test_a_file_that_comes_or_goes_in_a_folder_is_noticed(catalog: Catalog) -> None:
    folder = hf_folder(catalog.models_dir / "m")
    assert catalog.get("m").capabilities == ()
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert catalog.scan()[0].capabilities == ("template",)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    assert "tokenizer" in catalog.scan()[0].reason
    (folder / "vocab.json").write_text("{}")
    assert catalog.scan()[0].runnable
    shutil.rmtree(folder)
    assert catalog.scan() == ()


def test_what_is_known_before_loading_reaches_clients_and_paths_do_not(catalog: Catalog) -> None:
    write(catalog.models_dir / "x.gguf", metadata={**LLAMA, "general.languages": ["de"],
                                                   "general.base_model.0.name": "Maker Base"})  # fmt: skip
    sent = file_dict(catalog.get("x"), loaded=False)
    assert (sent["kind"], sent["languages"], sent["capabilities"]) == ("model", ("de",), ("template",))
    assert (sent["base"], sent["loaded"], sent["runnable"]) == ("Maker Base", False, True)
    assert str(catalog.models_dir) not in json.dumps(sent, default=str)
    assert catalog.facts_of("x").hidden == 64


def test_one_model_nobody_foresaw_hides_no_others(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    import modules.models.catalog as module

    write(catalog.models_dir / "a.gguf")
    write(catalog.models_dir / "b.gguf")
    real = module.detect

    def broken(path: Path, parts: tuple[Path, ...]) -> object:
        if path.name == "a.gguf":
            raise ZeroDivisionError
        return real(path, parts)

    monkeypatch.setattr(module, "detect", broken)
    entries = found(catalog)
    assert "could not be understood" in entries["a"].reason
    assert entries["b"].runnable
