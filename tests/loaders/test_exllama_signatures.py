"""The stand-ins' signatures are the libraries' own: read from the real sources, where those are installed.

A stand-in may leave out `**kwargs`, which would take a wrong name without a word; nothing else.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

STANDINS = Path(__file__).parent / "standins"
SAME_AS = {"load": "load_gen"}  # exllamav3's Model.load takes **kwargs and hands them to load_gen


def parameters(function: ast.FunctionDef) -> list[tuple[str, str | None]]:
    """Names and defaults of a function's parameters, in order."""
    given = [*function.args.posonlyargs, *function.args.args]
    defaults: list[ast.expr | None] = [None] * (len(given) - len(function.args.defaults)) + list(function.args.defaults)
    return [(one.arg, None if value is None else ast.unparse(value).replace("torch.half", "None"))
            for one, value in zip(given, defaults, strict=True)]  # fmt: skip


def found_in(tree: ast.AST) -> Iterator[tuple[str, ast.FunctionDef]]:
    """("Class.name", function) of every function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{one.name}", one) for one in node.body if isinstance(one, ast.FunctionDef))
    if isinstance(tree, ast.Module):
        yield from ((one.name, one) for one in tree.body if isinstance(one, ast.FunctionDef))


def pinned(package: str) -> list[tuple[str, str, list[tuple[str, str | None]]]]:
    """(function, file of the real source, parameters) for each function of the stand-in that names its source."""
    out, file = [], ""
    for path in sorted((STANDINS / package).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        functions = sorted(found_in(ast.parse(text)), key=lambda one: one[1].lineno)
        for name, function in functions:
            head = " ".join(lines[function.lineno - 1 : function.body[0].lineno])
            said = re.search(r"#\s+(\S+\.py):\d+", head)
            if said is None:
                continue
            file = said[1] if "/" in said[1] or said[1] != "custom.py" else "generator/sampler/custom.py"
            out.append((name, file, parameters(function)))
    return out


@pytest.mark.parametrize("package", ["exllamav2", "exllamav3"])
def test_the_stand_ins_name_the_lines_they_stand_for(package: str) -> None:
    assert len(pinned(package)) >= 15


@pytest.mark.parametrize("package", ["exllamav2", "exllamav3"])
def test_the_signatures_are_those_of_the_real_source(package: str) -> None:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"{package} is not installed: python3 start.py install {package}")
    root, wrong = Path(spec.origin).parent, []
    for name, file, mine in pinned(package):
        real = dict(found_in(ast.parse((root / file).read_text(encoding="utf-8"))))
        method = name.rpartition(".")[2]
        candidates = [function for known, function in real.items() if known.rpartition(".")[2] == method]
        if package == "exllamav3" and method in SAME_AS:
            candidates = [function for known, function in real.items() if known.endswith(SAME_AS[method])]
        if not any(parameters(one) == mine for one in candidates):
            wrong.append(f"{name} in {file}: {mine} is not among {[parameters(one) for one in candidates]}")
    assert not wrong, "\n".join(wrong)
