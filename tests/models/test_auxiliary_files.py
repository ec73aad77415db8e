"""Files a setting names are found in the catalogue, checked against the model, or chosen where they lie beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loaders import Registry
from loaders.base import LoaderSpec, LoadParam
from modules.errors import BadParameter
from modules.models.auxiliary_files import offered, resolve
from modules.models.catalog import Catalog
from modules.models.model_file import ModelFile
from tests.gguf_maker import LLAMA, write
from tests.model_maker import hf_folder, peft_folder, safetensors, torch_zip

FILES = tuple(
    LoadParam(name, "files", "", name, name, files=kind)
    for name, kind in (("lora", "adapter"), ("mmproj", "mmproj"), ("steer", "control-vector"), ("draft", "model"))
)


def spec(name: str, *formats: str) -> LoaderSpec:
    return LoaderSpec(name, name, formats, FILES, {}, frozenset(), f"loaders.{name}:load")


GGUF, HF = spec("llama.cpp", "gguf"), spec("hf", "safetensors", "pickle", "gguf")


def adapter(path: Path, arch: str = "llama", width: int = 64) -> Path:
    return write(path, metadata={"general.architecture": arch, "general.type": "adapter", "adapter.type": "lora"},
                 tensors=[("blk.0.attn_q.weight.lora_a", (width, 4), 0)])  # fmt: skip


def image_part(path: Path, width: int = 64, **meta: Any) -> Path:
    return write(path, metadata={"general.architecture": "clip", "clip.has_vision_encoder": True,
                                 "clip.vision.projection_dim": width, "general.file_type": 1, **meta},
                 tensors=[("mm.0.weight", (32, width), 0)])  # fmt: skip


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    root = tmp_path / "models"
    write(root / "Tiny.gguf")
    write(root / "Small-draft.gguf", tensors=[("token_embd.weight", (64, 4), 0)])
    adapter(root / "loras/polite.gguf")
    adapter(root / "loras/Rude=2.gguf")
    adapter(root / "loras/other.gguf", arch="qwen3")
    adapter(root / "loras/wide.gguf", width=4096)
    write(root / "vectors/calm.gguf", metadata={"general.architecture": "controlvector",
                                                "controlvector.model_hint": "llama"},
          tensors=[("direction.1", (64,), 0)])  # fmt: skip
    hf_folder(root / "hf")
    peft_folder(root / "loras/peft")
    write(tmp_path / "secret.gguf")
    return Catalog(root, Registry((GGUF, HF)))


def files(catalog: Catalog, model: str = "Tiny", loader: LoaderSpec = GGUF, **settings: str) -> dict[str, Any]:
    found = resolve(catalog, loader, settings, catalog.get(model)).files
    return {name: [(one.name, one.scale) for one in value] for name, value in found.items() if value}


def refused(catalog: Catalog, model: str = "Tiny", loader: LoaderSpec = GGUF, **settings: str) -> BadParameter:
    with pytest.raises(BadParameter) as caught:
        resolve(catalog, loader, settings, catalog.get(model))
    assert caught.value.param in settings
    return caught.value


def test_names_are_found_with_and_without_their_ending_and_with_a_strength(catalog: Catalog) -> None:
    named = files(
        catalog, lora="loras/polite = 0.5,\n loras/Rude=2.gguf=-1.25", steer="vectors/calm=2", draft="Small-draft"
    )
    assert named == {
        "lora": [("loras/polite", 0.5), ("loras/Rude=2", -1.25)],
        "steer": [("vectors/calm", 2.0)],
        "draft": [("Small-draft", 1.0)],
    }
    assert files(catalog, lora="loras/Rude=2") == {"lora": [("loras/Rude=2", 1.0)]}


def test_the_path_of_a_named_file_is_the_catalogues(catalog: Catalog) -> None:
    (one,) = resolve(catalog, GGUF, {"lora": "loras/polite"}, catalog.get("Tiny")).files["lora"]
    assert one.path == str(catalog.models_dir / "loras/polite.gguf")


@pytest.mark.parametrize("text", ["", "none", "None", "  "])
def test_nothing_named_is_nothing(catalog: Catalog, text: str) -> None:
    assert files(catalog, lora=text, draft=text) == {}


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../secret", "../secret.gguf", "..", "~/x", "C:\\x.gguf", "loras/../../secret", "a\\b"]
)
def test_a_path_is_refused_and_never_opened(catalog: Catalog, name: str) -> None:
    assert "not paths" in refused(catalog, lora=name).message


def test_an_absolute_path_into_the_models_folder_is_refused_too(catalog: Catalog) -> None:
    assert "not paths" in refused(catalog, lora=str(catalog.models_dir / "loras/polite.gguf")).message


def test_an_unknown_name_is_answered_with_those_that_fit(catalog: Catalog) -> None:
    assert "loras/polite" in refused(catalog, lora="lora/polit").hint
    assert "loras/other" not in refused(catalog, lora="zzz").hint


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lora": "vectors/calm"}, "is not a LoRA adapter"),
        ({"lora": "Tiny"}, "is not a LoRA adapter"),
        ({"mmproj": "loras/polite"}, "is not an image part"),
        ({"draft": "loras/polite"}, "is not a model"),
        ({"lora": "loras/other"}, "architecture qwen3"),
        ({"lora": "loras/wide"}, "another size"),
        ({"lora": "loras/peft"}, "not in a format"),
        ({"lora": "loras/polite,loras/polite=2"}, "twice"),
        ({"draft": "Small-draft,Tiny"}, "it takes 1"),
        ({"draft": "Small-draft=2"}, "without a strength"),
        ({"lora": "loras/polite=1e9"}, "from -100 to 100"),
        ({"lora": "x" * 20_000}, "too long"),
        ({"lora": ",".join(["loras/polite"] * 50)}, "names 50 files"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_reason(catalog: Catalog, settings: dict[str, str], words: str) -> None:
    assert words in refused(catalog, **settings).message


def test_engines_for_folders_take_the_adapters_of_peft(catalog: Catalog) -> None:
    assert files(catalog, "hf", HF, lora="loras/peft=0.5") == {"lora": [("loras/peft", 0.5)]}
    assert "not in a format" in refused(catalog, "hf", HF, lora="loras/polite").message
    peft_folder(catalog.models_dir / "loras/wide2", width=4096)
    assert "another size" in refused(catalog, "hf", HF, lora="loras/wide2").message
    peft_folder(catalog.models_dir / "loras/deep", layers=9)
    assert "at least 9 layers" in refused(catalog, "hf", HF, lora="loras/deep").message


def test_a_damaged_companion_says_what_is_wrong_with_it(catalog: Catalog) -> None:
    folder = peft_folder(catalog.models_dir / "loras/cut")
    (folder / "adapter_model.safetensors").write_bytes(safetensors()[:-9])
    assert "cut short" in refused(catalog, "hf", HF, lora="loras/cut").message
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(torch_zip())
    assert "Pickle" in refused(catalog, "hf", HF, lora="loras/cut").message
    trusting = Catalog(catalog.models_dir, Registry((GGUF, HF)), allow_pickle=True)
    assert files(trusting, "hf", HF, lora="loras/cut") == {"lora": [("loras/cut", 1.0)]}


def test_an_image_part_beside_the_model_is_chosen_with_its_reason_and_can_be_left_out(catalog: Catalog) -> None:
    write(catalog.models_dir / "eyes/Model-Q4_K_M.gguf")
    image_part(catalog.models_dir / "eyes/mmproj-F16.gguf")
    image_part(catalog.models_dir / "eyes/mmproj-big.gguf", width=4096)
    model = catalog.get("eyes/Model-Q4_K_M")
    assert "images" in model.capabilities
    found = resolve(catalog, GGUF, {}, model)
    assert [one.name for one in found.files["mmproj"]] == ["eyes/mmproj-F16"]
    assert "eyes/mmproj-F16 lies beside it" in found.why[0]
    assert resolve(catalog, GGUF, {"mmproj": "none"}, model).files["mmproj"] == ()
    assert "another size" in refused(catalog, "eyes/Model-Q4_K_M", mmproj="eyes/mmproj-big").message


def test_in_the_models_folder_itself_the_names_have_to_agree(catalog: Catalog) -> None:
    image_part(catalog.models_dir / "mmproj-F16.gguf")
    assert resolve(catalog, GGUF, {}, catalog.get("Tiny")).why == ()
    assert "images" not in catalog.get("Tiny").capabilities
    image_part(catalog.models_dir / "mmproj-Tiny-F16.gguf")
    assert resolve(catalog, GGUF, {}, catalog.get("Tiny")).files["mmproj"][0].name == "mmproj-Tiny-F16"
    assert resolve(catalog, GGUF, {}, catalog.get("Small-draft")).why == ()


def names(found: tuple[ModelFile, ...]) -> list[str]:
    return [one.name for one in found]


def test_what_fits_a_model_is_offered(catalog: Catalog) -> None:
    tiny, folder = catalog.get("Tiny"), catalog.get("hf")
    assert names(offered(catalog, "adapter", tiny, GGUF)) == ["loras/polite", "loras/Rude=2"]
    assert names(offered(catalog, "adapter", folder, HF)) == ["loras/peft"]
    assert names(offered(catalog, "control-vector", tiny)) == ["vectors/calm"]
    assert names(offered(catalog, "model", tiny)) == ["Small-draft"]
    image_part(catalog.models_dir / "a-mmproj.gguf")
    image_part(catalog.models_dir / "mmproj-Tiny.gguf")
    assert names(offered(catalog, "mmproj", tiny)) == ["mmproj-Tiny", "a-mmproj"]


def test_companions_are_listed_and_are_no_models(catalog: Catalog) -> None:
    kinds = {one.name: one.kind for one in catalog.scan() if one.kind != "model"}
    assert kinds == {
        "loras/polite": "adapter", "loras/Rude=2": "adapter", "loras/other": "adapter", "loras/wide": "adapter",
        "loras/peft": "adapter", "vectors/calm": "control-vector",
    }  # fmt: skip
    assert not any(one.runnable for one in catalog.scan() if one.kind != "model")
    assert LLAMA["general.architecture"] == catalog.get("Tiny").arch


def test_a_draft_model_with_other_tokens_is_refused_before_the_load(catalog: Catalog) -> None:
    same = {**LLAMA, "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm"}
    write(catalog.models_dir / "big.gguf", metadata=same)
    write(catalog.models_dir / "small.gguf", metadata=same)
    write(catalog.models_dir / "other.gguf", metadata={**same, "tokenizer.ggml.pre": "qwen2"})
    model = catalog.get("big")
    spec = Registry().get("llama.cpp")
    found = resolve(catalog, spec, spec.check_settings({"draft_model": "small"}), model)
    assert [file.name for file in found.files["draft_model"]] == ["small"]
    with pytest.raises(BadParameter, match="another vocabulary"):
        resolve(catalog, spec, spec.check_settings({"draft_model": "other"}), model)
