"""Nothing a loader names goes without a test: every loader that runs on a processor has its column, whole."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from types import ModuleType

import pytest

from loaders import built_in_specs
from loaders.base import Feature, LoaderSpec
from tests.loaders import cells
from tests.loaders.conformance import Conformance, cell
from tests.loaders.refusals import SHOWN_ELSEWHERE

BY_HAND = {"vllm": "vLLM for processors is installed by hand; TestRealVllm runs where it is"}
"""Loaders that could run on a processor, but whose engine no check has."""
LOADERS = [spec for spec in built_in_specs() if not spec.hardware and spec.name not in BY_HAND]


@pytest.fixture(scope="module")
def modules() -> list[ModuleType]:
    """Every file of tests beside this one."""
    files = sorted(path.stem for path in Path(__file__).parent.glob("test_*.py") if path.stem != Path(__file__).stem)
    return [importlib.import_module(f"tests.loaders.{name}") for name in files]


@pytest.mark.parametrize("spec", LOADERS, ids=lambda spec: spec.name)
def test_a_loader_shows_all_it_names_and_refuses_the_rest(spec: LoaderSpec, modules: list[ModuleType]) -> None:
    lines = cells.missing(spec, modules)
    assert not lines, "\n".join(lines)


def test_the_loaders_this_is_about_are_those_that_need_no_card() -> None:
    names = {spec.name for spec in LOADERS}
    assert names == {"llama.cpp", "llama-cpp-python", "transformers", "openai-endpoint", "echo"}, (
        "a new one needs a suite, or its reason in BY_HAND"
    )


class Suite(Conformance):
    """The suite of no loader: pytest does not collect it, by its name."""


def made(**more: object) -> ModuleType:
    """A module with a suite of echo, and what is given."""
    module = ModuleType("tests.loaders.test_echo")
    vars(module).update({"TestEcho": type("TestEcho", (Suite,), {}), **more})
    return module


def shown(feature: Feature) -> object:
    @pytest.mark.cell(feature.value, loader="echo")
    def test_it() -> None:
        """Nothing."""

    return test_it


ECHO = next(spec for spec in LOADERS if spec.name == "echo")
BARE = dataclasses.replace(ECHO, features=ECHO.features & {Feature.PARALLEL, Feature.LOGPROBS, Feature.CONTINUE})


def test_a_feature_that_is_named_and_shown_by_no_test_is_said_with_the_mark_it_needs() -> None:
    assert cells.missing(BARE, [made()]) == []
    named = dataclasses.replace(BARE, features=BARE.features | {Feature.RERANK})
    (line,) = cells.missing(named, [made()])
    assert '@pytest.mark.cell("rerank", loader="echo")' in line
    assert cells.missing(named, [made(test_it=shown(Feature.RERANK))]) == []


def test_a_suite_whose_test_has_lost_its_cell_or_a_loader_without_one_is_said() -> None:
    class TestEcho(Suite):
        async def test_a_stop_string_ends_the_reply_and_frees_the_engine(self) -> None:  # type: ignore[override]
            """Without its cell."""

        @pytest.mark.parametrize("name", ["top_k"])
        async def test_a_parameter_changes_the_reply_or_is_reported(self) -> None:  # type: ignore[override]
            """Of one parameter only."""

        @cell("seed")
        async def test_another(self) -> None:
            """With a cell that is there already."""

    lines = cells.missing(BARE, [made(TestEcho=TestEcho)])
    assert "echo: no test fills stop" in lines
    assert "echo: no test fills min_p" in lines
    assert not any(line.endswith((" seed", " top_k", " stream")) for line in lines)
    (line,) = cells.missing(BARE, [])
    assert "test_echo.py" in line


def test_a_suite_that_no_longer_asks_for_what_a_loader_lacks_is_said() -> None:
    class TestEcho(Suite):
        @pytest.mark.parametrize("feature", [one for one in Feature if one is not Feature.SPECULATION])
        async def test_a_feature_that_is_not_offered_is_refused(self) -> None:  # type: ignore[override]
            """Less one."""

    assert cells.missing(BARE, [made(TestEcho=TestEcho)]) == [
        "echo: no test asks for speculative decoding, which it lacks"
    ]


def test_what_one_form_of_a_loader_leaves_to_another_is_shown_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    for column in SHOWN_ELSEWHERE:
        assert column.partition(" (")[0] in {spec.name for spec in LOADERS}
    monkeypatch.setitem(SHOWN_ELSEWHERE, "echo", frozenset({Feature.PARALLEL}))  # type: ignore[arg-type]
    (line,) = cells.missing(BARE, [made()])
    assert "parallel" in line
