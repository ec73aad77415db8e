"""The loaders as a whole: their order, their names, and the two tables derived from them."""

from __future__ import annotations

import dataclasses

from loaders import Registry, load_func_map, loaders_and_params


def test_the_loader_people_expect_comes_first_for_its_format() -> None:
    def first(fmt: str) -> list[str]:
        return [spec.name for spec in Registry().for_format(fmt)]

    assert first("gguf") == ["llama.cpp", "llama-cpp-python", "transformers"]
    assert first("safetensors")[0] == "transformers"
    assert first("exl3") == ["exllamav3"]
    assert first("exl2") == ["exllamav2"]


def test_a_loader_of_an_extension_stands_where_its_rank_puts_it() -> None:
    own = dataclasses.replace(Registry().get("echo"), name="mine", formats=("gguf",), rank=5)
    assert [spec.name for spec in Registry().with_more([own]).for_format("gguf")][:2] == ["llama.cpp", "mine"]


def test_the_tables_are_made_of_the_specs() -> None:
    registry = Registry()
    assert list(loaders_and_params) == list(load_func_map) == [spec.name for spec in registry.specs]
    for spec in registry.specs:
        assert loaders_and_params[spec.name] == tuple(param.name for param in spec.params)
        module, _, function = load_func_map[spec.name].partition(":")
        assert module.startswith("loaders.")
        assert function == "load"
        assert len({param.name for param in spec.params}) == len(spec.params)
        assert spec.name == spec.name.lower()
