"""The catalogue lists what is on disk, says what each thing is, and why one cannot run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import modules.models.catalog
from loaders import Registry
from loaders.base import LoaderSpec
from modules.errors import NotFound, Unsupported
from modules.models.catalog import Catalog, check_runnable
from modules.models.model_file import ModelFile
from tests.gguf_maker import LLAMA, make, write
from tests.model_maker import hf_folder, torch_legacy, torch_zip


def spec(name: str, formats: tuple[str, ...] = ("gguf",), needs: str = "", **more: Any) -> LoaderSpec:
    return LoaderSpec(name, name, formats, (), {}, frozenset(), f"loaders.{name}:load", needs, **more)


ECHO = spec("echo", ("echo",), builtin_models=("echo",))
LLAMA_CPP = spec("llama.cpp")


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    (tmp_path / "models").mkdir()
    return Catalog(tmp_path / "models", Registry((LLAMA_CPP, ECHO)))


def names(catalog: Catalog) -> list[str]:
    return [model.name for model in catalog.scan() if not model.builtin]


def only(catalog: Catalog) -> ModelFile:
    (model,) = [model for model in catalog.scan() if not model.builtin]
    return model


def test_a_model_is_described_from_its_header(catalog: Catalog) -> None:
    path = write(catalog.models_dir / "team" / "Tiny.Q4_K_M.gguf")
    model = only(catalog)
    assert (model.name, model.path) == ("team/Tiny.Q4_K_M", path)
    assert (model.format, model.arch, model.quant, model.size) == ("gguf", "llama", "Q4_K_M", path.stat().st_size)
    assert (model.context_length, model.parameters, model.layers, model.chat_template) == (2048, 2304, 4, True)
    assert (model.runnable, model.reason, model.loaders, model.builtin) == (True, "", ("llama.cpp",), False)


def test_models_stand_by_name_and_the_built_in_one_last(catalog: Catalog) -> None:
    for name in ("b", "A", "c/a"):
        write(catalog.models_dir / f"{name}.gguf")
    assert [model.name for model in catalog.scan()] == ["A", "b", "c/a", "echo"]
    assert catalog.scan()[-1].builtin
    assert catalog.get("echo").runnable


def test_an_empty_or_missing_folder_still_has_the_built_in_model(tmp_path: Path, catalog: Catalog) -> None:
    assert [model.name for model in catalog.scan()] == ["echo"]
    assert [model.name for model in Catalog(tmp_path / "none", Registry((ECHO,))).scan()] == ["echo"]


def test_downloads_under_way_and_hidden_files_are_not_models(catalog: Catalog) -> None:
    for name in ("a.gguf.part", "b.gguf.crdownload", "._c.gguf", ".cache/d.gguf", "README.md", "e.gguf.incomplete"):
        write(catalog.models_dir / name)
    assert names(catalog) == []


def test_a_file_that_a_download_tool_still_works_on_says_so(catalog: Catalog) -> None:
    write(catalog.models_dir / "a.gguf")
    (catalog.models_dir / "a.gguf.aria2").write_text("")
    assert only(catalog).reason == "It is still being downloaded."
    (catalog.models_dir / "a.gguf.aria2").unlink()
    assert only(catalog).runnable


def test_a_file_name_that_is_not_utf_8_gets_a_name_that_can_be_sent(catalog: Catalog) -> None:
    try:
        (catalog.models_dir / os.fsdecode(b"caf\xe9.gguf")).write_bytes(make().data)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    model = only(catalog)
    assert (model.name, model.runnable) == ("caf\ufffd", True)
    assert catalog.get("caf\ufffd") == model


def split(folder: Path, count: int, leave_out: int = 0) -> None:
    for number in range(1, count + 1):
        if number != leave_out:
            base = LLAMA if number == 1 else {}
            meta = {**base, "split.no": number - 1, "split.count": count}
            write(folder / f"big-{number:05}-of-{count:05}.gguf", metadata=meta, tensors=[(f"w{number}", (256,), 0)])


def test_a_split_model_is_one_entry_with_the_sum_of_its_parts(catalog: Catalog) -> None:
    split(catalog.models_dir, 3)
    model = only(catalog)
    assert (model.name, model.path.name, model.runnable) == ("big", "big-00001-of-00003.gguf", True)
    assert model.parameters == 3 * 256
    assert model.size == sum(path.stat().st_size for path in catalog.models_dir.iterdir())
    assert catalog.get("big-00001-of-00003") == model
    assert catalog.get("big-00001-of-00003.gguf") == model


@pytest.mark.parametrize(("leave_out", "said"), [(1, "part 1 is missing"), (3, "part 3 is missing")])
def test_a_split_model_with_a_part_missing_names_the_part(catalog: Catalog, leave_out: int, said: str) -> None:
    split(catalog.models_dir, 3, leave_out)
    model = only(catalog)
    assert not model.runnable
    assert said in model.reason


def test_a_damaged_part_is_named(catalog: Catalog) -> None:
    split(catalog.models_dir, 2)
    (catalog.models_dir / "big-00002-of-00002.gguf").write_bytes(b"<html>")
    assert "big-00002-of-00002.gguf: This is a web page" in only(catalog).reason


def test_a_renamed_first_part_says_that_it_is_a_part(catalog: Catalog) -> None:
    write(catalog.models_dir / "x.gguf", metadata={**LLAMA, "split.no": 0, "split.count": 2})
    assert "split in 2 parts" in only(catalog).reason


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        ({"general.architecture": "clip", "clip.projector_type": "mlp"}, "image or sound part"),
        ({**LLAMA, "general.type": "adapter"}, "LoRA"),
        ({**LLAMA, "general.architecture": "bert"}, "embeddings"),
        ({**LLAMA, "general.architecture": "flux"}, "pictures"),
        ({}, "no model in this file"),
    ],
)
def test_what_is_no_text_model_is_listed_with_its_reason(catalog: Catalog, meta: dict[str, Any], said: str) -> None:
    write(catalog.models_dir / "x.gguf", metadata=meta)
    assert not only(catalog).runnable
    assert said in only(catalog).reason


def test_files_engines_do_not_open_any_more_are_listed_with_their_reason(catalog: Catalog) -> None:
    write(catalog.models_dir / "one.gguf", version=1)
    write(catalog.models_dir / "turned.gguf", order=">")
    (catalog.models_dir / "cut.gguf").write_bytes(make().data[:900])
    reasons = {model.name: model.reason for model in catalog.scan()}
    assert "version 1" in reasons["one"]
    assert "big-endian" in reasons["turned"]
    assert "cut short" in reasons["cut"]


def test_other_kinds_of_models_are_listed_with_the_way_out(catalog: Catalog) -> None:
    hf_folder(catalog.models_dir / "hf")
    hf_folder(catalog.models_dir / "old")
    (catalog.models_dir / "old/model.safetensors").unlink()
    (catalog.models_dir / "old/pytorch_model.bin").write_bytes(torch_zip())
    (catalog.models_dir / "x.pth").write_bytes(torch_legacy())
    found = {model.name: model for model in catalog.scan() if not model.builtin}
    assert {name: model.format for name, model in found.items()} == {
        "hf": "safetensors",
        "old": "pickle",
        "x": "pickle",
    }
    assert "No loader" in found["hf"].reason
    assert "Pickle" in found["old"].reason
    assert not any(model.runnable for model in found.values())


def test_names_are_unique_and_each_finds_its_own_file(catalog: Catalog) -> None:
    write(catalog.models_dir / "x.gguf")
    split(catalog.models_dir / "big", 2)
    write(catalog.models_dir / "big" / "big.gguf")
    write(catalog.models_dir / "echo.gguf")
    (catalog.models_dir / "x").mkdir()
    (catalog.models_dir / "x" / "config.json").write_text("{}")
    (catalog.models_dir / "x" / "model.safetensors").write_text("")
    models = catalog.scan()
    assert len({model.name for model in models}) == len(models) == 5
    for model in models:
        assert catalog.get(model.name) == model


def test_links_are_followed_and_loops_end(tmp_path: Path, catalog: Catalog) -> None:
    write(tmp_path / "disk" / "far.gguf")
    (catalog.models_dir / "other disk").symlink_to(tmp_path / "disk")
    (catalog.models_dir / "self").symlink_to(catalog.models_dir)
    (tmp_path / "disk" / "back").symlink_to(catalog.models_dir)
    (catalog.models_dir / "file.gguf").symlink_to(tmp_path / "disk" / "far.gguf")
    (catalog.models_dir / "gone.gguf").symlink_to(tmp_path / "nowhere")
    found = {model.name: model for model in catalog.scan()}
    assert found["file"].runnable
    assert sum(name.endswith("far") for name in found) == 1
    assert "cannot be opened" in found["gone"].reason


def test_headers_are_read_again_only_when_a_file_changed(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real: Callable[..., Any] = modules.models.catalog.detect
    spy = lambda path, parts: (read.append(path.name), real(path, parts))[1]  # noqa: E731
    monkeypatch.setattr(modules.models.catalog, "detect", spy)
    path = write(catalog.models_dir / "a.gguf")
    write(catalog.models_dir / "b.gguf")
    catalog.scan()
    catalog.scan()
    catalog.get("a")
    assert sorted(read) == ["a.gguf", "b.gguf"]
    write(path, metadata={**LLAMA, "llama.context_length": 77})
    os.utime(path, ns=(1, 1))
    assert catalog.get("a").context_length == 77
    assert read.count("a.gguf") == 2
    assert read.count("b.gguf") == 1
    path.unlink()
    with pytest.raises(NotFound):
        catalog.get("a")


def test_a_thousand_models_are_listed_in_under_a_second_when_warm(catalog: Catalog) -> None:
    raw = make().data
    for number in range(1000):
        folder = catalog.models_dir / f"f{number % 20}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.gguf").write_bytes(raw)
    assert len(catalog.scan()) == 1001
    started = time.thread_time()
    catalog.scan()
    assert time.thread_time() - started < 1


def test_an_unknown_name_is_answered_with_near_ones(catalog: Catalog) -> None:
    write(catalog.models_dir / "SmolLM2-135M.gguf")
    with pytest.raises(NotFound) as caught:
        catalog.get("smollm-135m")
    assert caught.value.code == "model_not_found"
    assert "SmolLM2-135M" in caught.value.hint
    assert catalog.get("SmolLM2-135M.gguf").name == "SmolLM2-135M"


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", "", "a\x00b", "x" * 5000])
def test_a_name_is_looked_up_and_never_opened(catalog: Catalog, name: str) -> None:
    write(catalog.models_dir.parent / "secret.gguf")
    with pytest.raises(NotFound):
        catalog.get(name)


def test_a_loader_that_is_not_installed_is_named_with_the_command(tmp_path: Path) -> None:
    write(tmp_path / "x.gguf")
    catalog = Catalog(tmp_path, Registry((spec("big", needs="no_such_package", requirements="big"),)))
    assert "python start.py install big" in catalog.get("x").reason
    with pytest.raises(Unsupported) as caught:
        check_runnable(catalog.get("x"))
    assert caught.value.code == "model_not_runnable"
