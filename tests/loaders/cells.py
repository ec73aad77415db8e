"""The cells of the loaders' table: which ones a loader has to fill, and which its tests are marked to fill.

Read from the marks of the tests themselves, and not from what a run showed: the same then holds for a run of one
test, of one file, of two processes, and where an engine is not installed.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

from loaders.base import Feature, LoaderSpec
from modules.sampling.params import BY_NAME
from tests.loaders.conformance import Conformance
from tests.loaders.refusals import IN_THE_SUITE, SHOWN_ELSEWHERE

ALWAYS = ("stream", "stop", "seed", "cancel", "unicode", "context overflow")
"""What no loader may lack."""
Cells = dict[str, set[str]]
"""Column of the table → its cells."""


def cells_of(modules: Iterable[ModuleType], loader: str) -> Cells:
    """What the tests of these modules are marked to fill of one loader's columns."""
    found: Cells = {}
    for module in modules:
        for column, cell in _of_module(module, loader):
            if column == loader or column.startswith(f"{loader} ("):
                found.setdefault(column, set()).add(cell)
    return found


def missing(spec: LoaderSpec, modules: Iterable[ModuleType]) -> list[str]:
    """What nothing shows of a loader, as sentences; empty when its row is whole.

    Each column a suite fills has to be whole. A feature that needs more than the suite has to be shown in one of them.
    """
    modules = tuple(modules)
    found = cells_of(modules, spec.name)
    suites = {column for module in modules for column in _suites(module, spec.name)}
    if not suites:
        return [f"{spec.name} has no suite: subclass Conformance in tests/loaders/test_{module_of(spec)}.py"]
    wanted = {*ALWAYS, *IN_THE_SUITE.values(), *BY_NAME}
    lines = [f"{column}: no test fills {cell}" for column in sorted(suites) for cell in sorted(wanted - found[column])]
    everywhere = set().union(*found.values())
    for feature in sorted(Feature):
        if feature in IN_THE_SUITE:
            if feature in spec.features and all(feature in SHOWN_ELSEWHERE.get(one, ()) for one in suites):
                lines.append(
                    f"{spec.name} names the feature {feature.value}, and each of its suites leaves it to another"
                )
        elif feature not in spec.features:
            lines += [f"{one}: no test asks for {feature.value}, which it lacks" for one in sorted(suites)
                      if feature.value not in _refused(modules, spec.name).get(one, ())]  # fmt: skip
        elif feature.value not in everywhere:
            lines.append(
                f"{spec.name} names the feature {feature.value}, and no test is marked "
                f'@pytest.mark.cell("{feature.value}", loader="{spec.name}")'
            )
    return lines


def module_of(spec: LoaderSpec) -> str:
    """The loader's file, without its ending."""
    return spec.load.split(":")[0].rsplit(".", 1)[-1]


def _suites(module: ModuleType, loader: str) -> Mapping[str, type[Conformance]]:
    """Column → the suite that fills it. A suite without a column stands in the file named after its loader."""
    found = {}
    for name, thing in vars(module).items():
        if inspect.isclass(thing) and issubclass(thing, Conformance) and name.startswith("Test"):
            own = "test_" + loader.replace(".", "_").replace("-", "_")
            column = thing.column or (loader if module.__name__.endswith(f".{own}") else "")
            if column == loader or column.startswith(f"{loader} ("):
                found[column] = thing
    return found


def _of_module(module: ModuleType, loader: str) -> Iterator[tuple[str, str]]:
    columns = {suite: column for column, suite in _suites(module, loader).items()}
    for thing in vars(module).values():
        tests = [thing] if inspect.isfunction(thing) else []
        if inspect.isclass(thing) and thing.__name__.startswith("Test"):
            tests = [test for name, test in inspect.getmembers(thing, inspect.isfunction) if name.startswith("test_")]
        for test in tests:
            for mark in _marks(test, "cell"):
                if column := mark.kwargs.get("loader") or columns.get(thing, ""):
                    yield column, mark.args[0]
            if thing in columns:
                yield from ((columns[thing], str(name)) for name in _values(test, "name") if name in BY_NAME)


def _refused(modules: Iterable[ModuleType], loader: str) -> Mapping[str, set[str]]:
    """Column → the features its suite asks for where they are not offered."""
    suites = [pair for module in modules for pair in _suites(module, loader).items()]
    return {
        column: {str(value) for value in _values(suite.test_a_feature_that_is_not_offered_is_refused, "feature")}
        for column, suite in suites
    }


def _marks(test: Any, name: str) -> list[Any]:
    return [mark for mark in getattr(test, "pytestmark", ()) if mark.name == name]


def _values(test: Any, argument: str) -> list[Any]:
    """What a test is repeated for."""
    return [value for mark in _marks(test, "parametrize") if mark.args[0] == argument for value in mark.args[1]]
