"""What a model is for is known before it is loaded; the files it goes with reach the plan of its load."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from loaders import Registry, echo
from loaders.base import Feature, LoaderSpec, LoadParam
from modules.errors import BadParameter, NotReady, Unsupported
from modules.models.catalog import Catalog, check_writes_text
from modules.models.pool import ModelPool
from modules.settings.paths import Paths
from tests.gguf_maker import LLAMA, write
from tests.models.test_auxiliary_files import adapter, image_part
from tests.models.test_pool import FakeSettings

FILES = (
    LoadParam("lora", "files", "", "", "", files="adapter"),
    LoadParam("mmproj", "files", "", "", "", files="mmproj"),
)
PLAIN = LoaderSpec("plain", "", ("gguf",), FILES, {}, frozenset(), "loaders.echo:load")
VECTORS = dataclasses.replace(PLAIN, name="vectors", features=frozenset({Feature.EMBEDDINGS}))
BERT = {**LLAMA, "general.architecture": "bert"}


def made(tmp_path: Path, *specs: LoaderSpec) -> tuple[Catalog, ModelPool]:
    paths = Paths.below(tmp_path / "user_data")
    registry = Registry((*specs, dataclasses.replace(echo.SPEC, builtin_models=("echo",))))
    catalog = Catalog(paths.models, registry)
    return catalog, ModelPool(catalog, registry, paths, FakeSettings())


def test_an_embedding_model_runs_where_a_loader_makes_embeddings(tmp_path: Path) -> None:
    catalog, _ = made(tmp_path, PLAIN, VECTORS)
    write(catalog.models_dir / "e.gguf", metadata=BERT)
    model = catalog.get("e")
    assert (model.runnable, model.kind, model.loaders) == (True, "embedding", ("vectors",))
    with pytest.raises(Unsupported) as caught:
        check_writes_text(model)
    assert "makes embeddings, not text" in caught.value.message
    without, _ = made(tmp_path, PLAIN)
    assert "makes embeddings" in without.get("e").reason


@pytest.mark.anyio
async def test_a_chat_with_an_embedding_model_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    catalog, models = made(tmp_path, VECTORS)
    write(catalog.models_dir / "e.gguf", metadata=BERT)
    with pytest.raises(Unsupported) as caught:
        async with models.lease("e", writes=True):
            pass
    assert caught.value.code == "model_writes_no_text"
    assert models.statuses == ()
    with pytest.raises(NotReady):  # a request that names no model does not mean it either
        async with models.lease(None, writes=True):
            pass
    assert models.statuses == ()


def test_files_of_the_settings_and_those_beside_the_model_are_in_the_plan(tmp_path: Path) -> None:
    catalog, models = made(tmp_path, PLAIN)
    write(catalog.models_dir / "m/Tiny.gguf")
    image_part(catalog.models_dir / "m/mmproj.gguf")
    adapter(catalog.models_dir / "polite.gguf")
    plan = models._planner.plan("m/Tiny", None, {"lora": "polite=0.5"})
    assert {name: [(one.name, one.scale) for one in files] for name, files in plan.files.items()} == {
        "lora": [("polite", 0.5)],
        "mmproj": [("m/mmproj", 1.0)],
    }
    assert "m/mmproj lies beside it" in plan.why
    with pytest.raises(BadParameter):
        models._planner.plan("m/Tiny", None, {"lora": "../polite"})


@pytest.mark.anyio
async def test_the_files_reach_the_worker(tmp_path: Path) -> None:
    catalog, models = made(tmp_path, PLAIN)
    path = catalog.models_dir / "Tiny.gguf"
    write(path)
    adapter(catalog.models_dir / "polite.gguf")
    try:
        plan = models._planner.plan("Tiny", None, {"lora": "polite"})
        host = models._launch(plan)
        assert host.process.request.files["lora"][0].path == str(catalog.models_dir / "polite.gguf")
    finally:
        await models.close()
