"""Prints the conformance suite's table at the end of a run: loader × what it can.

The tests of tests/loaders/conformance.py fill it, and any other test marked
`@pytest.mark.cell("LoRA", loader="llama.cpp")`. A cell is "yes" when its test passed, "–" when the loader does not
offer it (a request that asks for it is then told so), "not run" where its test was skipped for want of a package or a
device, "FAILED" when its test failed. A loader of which nothing was run has no column.
"""

from __future__ import annotations

from typing import Any

import pytest

from modules.sampling.params import BY_NAME

_RANK = {"FAILED": 3, "yes": 2, "not run": 1, "–": 0}


def outcome(report: pytest.TestReport, said: dict[str, Any]) -> str | None:
    """What one report says of its cell; None while it says nothing yet."""
    if report.failed:
        return "FAILED"
    if report.skipped:
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else ""
        return "–" if "this loader" in reason else "not run"
    if report.when != "call":
        return None
    return "yes" if said.get("offered", True) else "–"


def table(cells: dict[tuple[str, str], str]) -> list[str]:
    """The table as lines of Markdown: abilities first, then the samplers in the order of PARAMS."""
    loaders = sorted({loader for (loader, _), shown in cells.items() if shown != "not run"})
    rows = list(dict.fromkeys(name for loader, name in cells if loader in loaders))
    order = list(BY_NAME)
    rows.sort(key=lambda name: (name in BY_NAME, order.index(name) if name in BY_NAME else 0, name))
    lines = ["| | " + " | ".join(loaders) + " |", "|---|" + "---|" * len(loaders)]
    for name in rows:
        shown = f"`{name}`" if name in BY_NAME else name
        lines.append(f"| {shown} | " + " | ".join(cells.get((loader, name), "") for loader in loaders) + " |")
    return lines


class ConformanceTable:
    """A pytest plugin that collects the cells, also from the processes of pytest-xdist."""

    def __init__(self) -> None:
        self.cells: dict[tuple[str, str], str] = {}

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """A mark that names its loader fills that cell; the suite's own marks learn the name from their fixture."""
        for mark in item.iter_markers("cell"):
            if loader := mark.kwargs.get("loader"):
                item.user_properties.append(("cell", [loader, mark.args[0]]))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take down what a test of the suite showed."""
        said = {name: value for name, value in report.user_properties if name != "cell"}
        for name, value in report.user_properties:
            if name == "cell" and (shown := outcome(report, said)) is not None:
                key = (str(value[0]), str(value[1]))
                self.cells[key] = max(shown, self.cells.get(key, shown), key=_RANK.__getitem__)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print it."""
        if self.cells:
            terminalreporter.section("loaders")
            for line in table(self.cells):
                terminalreporter.write_line(line)
