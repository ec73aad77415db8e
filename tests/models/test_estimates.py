"""Estimates for models of the catalogue: the machine as its engine sees it, files that go with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loaders import Registry
from modules.estimates.corrections import Footprints
from modules.hardware.gpu import ProbeResult
from modules.hardware.reader import HardwareReader
from modules.hardware.values import Device
from modules.models.catalog import Catalog
from modules.models.estimates import Estimating
from tests.gguf_maker import write

GB = 1 << 30


def with_card(root: Path, ram: tuple[int, int] | None) -> ProbeResult:
    return ProbeResult([Device("cuda", 0, "Card A", 24 * GB, 20 * GB, "8.9")])


def estimating(folder: Path, own_engine: bool = False, given_up: int = 0) -> tuple[Estimating, Catalog]:
    """With one small model on a machine that has a card, and an engine built for the processor."""
    write(folder / "models" / "tiny.gguf")
    write(folder / "models" / "lora.gguf", metadata={"general.architecture": "llama", "adapter.type": "lora"})
    catalog = Catalog(folder / "models", Registry())
    reader = HardwareReader(gpus=with_card, probe=lambda name: {"version": "1", "devices": []})
    made = Estimating(reader, Footprints(folder / "footprints.yaml"), catalog.get, lambda: given_up,
                      lambda spec: own_engine)  # fmt: skip
    return made, catalog


def shares(made: Estimating, catalog: Catalog, **settings: Any) -> Any:
    spec = Registry().get("llama.cpp")
    return made.estimate(catalog.get("tiny"), spec, spec.check_settings(settings))


def test_a_card_the_engine_was_not_built_for_gets_nothing(tmp_path: Path) -> None:
    made, catalog = estimating(tmp_path)
    made.hardware.engine_devices("xllamacpp", wait=20)
    assert [share.device for share in shares(made, catalog).shares] == ["cpu"]
    own, catalog = estimating(tmp_path, own_engine=True)
    assert [share.device for share in shares(own, catalog).shares] == ["cpu", "cuda:0"]


def test_files_that_settings_name_are_counted_and_missing_ones_are_not(tmp_path: Path) -> None:
    made, catalog = estimating(tmp_path)
    plain = shares(made, catalog).total
    assert shares(made, catalog, lora="lora=0.5").total - plain == catalog.get("lora").size
    assert shares(made, catalog, lora="nothing there, ,").total == plain


def test_the_memory_of_models_that_give_way_counts_as_free(tmp_path: Path) -> None:
    made, _ = estimating(tmp_path)
    more, _ = estimating(tmp_path, given_up=1 << 20)
    before, after = made.machine().ram_free, more.machine().ram_free
    assert after <= more.machine().ram_total
    huge, _ = estimating(tmp_path, given_up=1 << 60)
    assert huge.machine().ram_free == huge.machine().ram_total
    assert before > 0


def test_facts_come_from_the_catalogue(tmp_path: Path) -> None:
    made, catalog = estimating(tmp_path)
    facts = made.facts(catalog.get("tiny"))
    assert (facts.format, facts.layers, facts.hidden) == ("gguf", 4, 64)
