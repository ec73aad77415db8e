"""The house's own rules, read from the source: who may import whom, sizes, no work at import."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [
    *sorted(
        path
        for folder in ("modules", "loaders", "extensions")
        for path in (ROOT / folder).rglob("*.py")
        if "__pycache__" not in path.parts
    ),
    ROOT / "server.py",
]

# Every source file has one layer; a file may import its own layer and those below it.
# First match wins; prefixes are of the dotted module name.
LAYERS: tuple[tuple[str, int], ...] = (
    ("modules.launcher", 0),
    ("modules.types", 1),
    ("modules.messages.parts", 1),
    ("modules.messages.message", 1),
    ("modules.errors", 1),
    ("modules.version", 1),
    ("modules.sampling.params", 1),
    ("modules.sampling.param", 1),
    ("modules.doc_tables", 8),
    ("modules.chats", 3),
    ("modules.generation.json_schema", 2),
    ("modules.generation.roles", 2),
    ("modules.generation.stop_strings", 2),
    ("modules.generation.stream_parser", 2),
    ("modules.generation.token_count", 2),
    ("modules.generation.ledger_sources", 2),
    ("modules.generation.context", 2),
    ("loaders", 3),
    ("modules.models.catalog", 4),
    ("modules.models.loadability", 4),
    ("modules.engine", 4),
    ("modules.drivers", 4),
    ("modules.extension_api", 6),
    ("modules.dialects", 6),
    ("modules.extensions", 6),
    ("modules.hooks", 6),
    ("modules.generation", 6),
    ("modules.models.memory", 2),
    ("modules.models.model_file", 2),
    ("modules.models.status", 2),
    ("modules.models.last_used", 2),
    ("modules.models", 5),
    ("modules.replies", 6),
    ("modules.conversation", 6),
    ("modules.app", 7),
    ("modules.api", 8),
    ("modules.ui", 8),
    ("extensions", 8),
    ("server", 9),
    ("modules", 2),  # every other module is a leaf
)
ENGINE_LIBRARIES = {
    "torch", "transformers", "llama_cpp", "xllamacpp", "exllamav2", "exllamav3", "peft", "accelerate", "vllm", "sglang",
    "tensorrt_llm", "bitsandbytes", "torchao",
}  # fmt: skip
WORKER_ONLY = ("loaders.hf", "loaders.torch_sampling", "loaders.llama_python", "loaders.exllama.")
"""Packages that import engine libraries at their top: loader files reach them from inside functions only."""


def dotted(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def layer(name: str) -> int | None:
    for prefix, number in LAYERS:
        if name == prefix or name.startswith((prefix + ".", prefix + "_")):
            return number
    return None


def imports(path: Path) -> Iterator[tuple[str, int, bool, bool]]:
    """(module, line, inside a function, only for type checking) of every import in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside: dict[ast.AST, tuple[bool, bool]] = {tree: (False, False)}
    for node in ast.walk(tree):
        in_function, for_types = inside.get(node, (False, False))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            in_function = True
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for_types = True
        for child in ast.iter_child_nodes(node):
            inside[child] = (in_function, for_types)
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, in_function, for_types
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                is_module = (ROOT / (full.replace(".", "/") + ".py")).exists() or (
                    ROOT / full.replace(".", "/")
                ).is_dir()
                yield (full if is_module else str(node.module)), node.lineno, in_function, for_types


@pytest.mark.parametrize("path", SOURCES, ids=dotted)
def test_a_file_imports_only_its_own_layer_and_those_below(path: Path) -> None:
    own = layer(dotted(path))
    wrong = []
    for module, line, _, for_types in imports(path):
        other = layer(module)
        if other is not None and own is not None and other > own and not for_types:
            wrong.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    assert not wrong, "\n".join(wrong)


def package(name: str) -> str:
    """The folder of a module below modules/, else the file: what the graph without circles is made of."""
    parts = name.split(".")
    if parts[0] == "modules" and len(parts) > 1:
        return ".".join(parts[:2])
    return name


def circle(graph: dict[str, set[str]]) -> list[str]:
    """One circle of imports, [] when there is none."""
    done: set[str] = set()

    def visit(node: str, trail: list[str]) -> list[str]:
        if node in trail:
            return [*trail[trail.index(node) :], node]
        if node in done:
            return []
        for other in sorted(graph.get(node, ())):
            if found := visit(other, [*trail, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := visit(node, []))), [])


def test_no_package_imports_itself_by_way_of_another() -> None:
    """Imports for type checking and inside functions count too: who knows whom is what a reader has to follow."""
    graph: dict[str, set[str]] = {}
    for path in SOURCES:
        here = package(dotted(path))
        for module, _, _, _ in imports(path):
            there = package(module)
            if there.split(".")[0] in ("modules", "loaders", "extensions") and there not in (here, "modules"):
                graph.setdefault(here, set()).add(there)
    assert not circle(graph), " -> ".join(circle(graph))


def test_a_circle_of_imports_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert circle({"a": {"b", "c"}, "b": {"c"}}) == []


@pytest.mark.parametrize("path", SOURCES, ids=dotted)
def test_heavy_and_edge_libraries_stay_where_they_belong(path: Path) -> None:
    name, wrong = dotted(path), []
    for module, line, in_function, _ in imports(path):
        top = module.split(".")[0]
        where = f"{path.relative_to(ROOT)}:{line} imports {module}"
        if top == "gradio" and not name.startswith(("modules.ui", "extensions.")):
            wrong.append(where)
        if top in ("fastapi", "starlette") and not name.startswith(
            ("modules.api", "modules.dialects", "server", "extensions.", "modules.ui.build")
        ):
            wrong.append(where)
        if top in ENGINE_LIBRARIES and not name.startswith(WORKER_ONLY) and not (
            name.startswith("loaders.") and in_function
        ):  # fmt: skip
            wrong.append(where)
        if module.startswith(WORKER_ONLY) and not name.startswith(WORKER_ONLY) and not (
            name.startswith("loaders.") and in_function
        ):  # fmt: skip
            wrong.append(where)
        if name.startswith("modules.api") and module.startswith("modules.ui"):
            wrong.append(where)
        if name.startswith("modules.ui") and module.startswith("modules.api"):
            wrong.append(where)
        if name.startswith("extensions.") and module.startswith(("modules.", "loaders")) and module not in (
            "modules.extension_api", "loaders.base"
        ):  # fmt: skip
            wrong.append(where)
        foreign = (
            top not in sys.stdlib_module_names and module != "modules" and not module.startswith("modules.launcher")
        )
        if name.startswith("modules.launcher") and foreign:
            wrong.append(where)
    assert not wrong, "\n".join(wrong)


def test_start_py_needs_nothing_but_the_standard_library() -> None:
    wrong = [
        module
        for module, _, _, _ in imports(ROOT / "start.py")
        if module.split(".")[0] not in sys.stdlib_module_names and not module.startswith("modules")
    ]
    assert not wrong


def test_files_and_functions_stay_readable() -> None:
    wrong = []
    for path in [*SOURCES, ROOT / "start.py", *sorted((ROOT / "modules/ui/web").rglob("*.js"))]:
        if "vendor" in path.parts:
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > 350:
            wrong.append(f"{path.relative_to(ROOT)} has {len(lines)} lines")
        if path.suffix == ".py":
            for node in ast.walk(ast.parse("\n".join(lines))):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    length = (node.end_lineno or node.lineno) - node.lineno + 1
                    if length > 60:
                        wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {length} lines")
    assert not wrong, "\n".join(wrong)


def test_no_file_is_called_utils_or_common() -> None:
    assert not [path for path in SOURCES if path.stem in ("utils", "common", "helpers", "misc")]


COINED = {
    "guesses", "asking", "said", "ladder", "rows", "keeper", "words", "row", "pieces", "guessing", "trouble",
    "stopping", "placing", "opening", "pictures", "prefixes", "quantising", "guide", "cuts", "picked", "choosers",
    "turn", "leaving", "silence", "watch", "backlog", "saved_prompts", "companions", "catalog_verdict", "choose",
    "measuring", "lease_entry", "verdict", "late", "http_unread", "answers", "anew", "open_chats", "whole", "shell",
}  # fmt: skip
"""File names that no newcomer would search for; docs/glossary.md has the field's terms."""
COINED_CLASSES = {
    "Host", "Models", "Entering", "Finder", "Door", "Start", "Words", "By", "Again", "Seen", "Chosen", "Turn",
    "Silence", "Backlog", "Picked", "Chooser", "Guide", "Asker", "Pictures", "Prefixes", "Guesser", "Late",
}  # fmt: skip


def test_no_file_or_class_has_a_coined_name() -> None:
    wrong = [str(path.relative_to(ROOT)) for path in SOURCES if path.stem in COINED or path.parent.name in COINED]
    for path in SOURCES:
        if "launcher" in path.parts or path.name == "extension_api.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name in COINED_CLASSES:
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} class {node.name}")
    assert not wrong, "\n".join(wrong)


def test_few_files_lie_loose_in_modules() -> None:
    assert len(list((ROOT / "modules").glob("*.py"))) <= 11


def test_no_error_is_swallowed() -> None:
    """`except …: pass` and a bare `except:` are not allowed; contextlib.suppress of one named error is."""
    wrong = []
    for path in [*SOURCES, ROOT / "start.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler):
                empty = all(isinstance(line, ast.Pass) for line in node.body)
                if empty or node.type is None:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not wrong, "\n".join(wrong)


PROSE = frozenset({"message", "hint", "why", "says", "help"})
"""Attributes that hold a text for people."""
SEARCHES = frozenset({
    "startswith", "endswith", "split", "rsplit", "partition", "rpartition", "find", "index", "count", "replace",
    "removeprefix", "removesuffix",
})  # fmt: skip


REDACTS = frozenset({"modules.drivers.openai_errors"})
"""Takes secrets out of a text that another server wrote, which is no decision."""


def prose_decisions(tree: ast.AST) -> Iterator[int]:
    """Lines that compare, search or split a text for people: `error.message == …`, `re.search(…, why.says)`."""

    def is_prose(node: ast.AST) -> bool:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):  # error.message.lower()
            return is_prose(node.func.value)
        if isinstance(node, ast.Attribute) and node.attr == "reason":
            return isinstance(node.value, (ast.Name, ast.Attribute)) and ast.unparse(node.value).endswith(
                ("facts", "model", "file", "verdict", "judged")
            )
        return isinstance(node, ast.Attribute) and node.attr in PROSE

    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            empty = any(isinstance(one, ast.Constant) and one.value in ("", None) for one in sides)
            listed = isinstance(node.ops[0], (ast.In, ast.NotIn)) and is_prose(node.left)  # one of several problems
            if any(is_prose(one) for one in sides) and not empty and not listed:
                yield node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of_text = node.func.attr in SEARCHES and is_prose(node.func.value)
            matched = node.func.attr in ("search", "match", "fullmatch", "findall", "finditer", "sub")
            if of_text or (matched and any(is_prose(one) for one in node.args)):
                yield node.lineno


@pytest.mark.parametrize("path", SOURCES, ids=dotted)
def test_no_code_decides_by_a_text_meant_for_people(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [line for line in prose_decisions(tree) if dotted(path) not in REDACTS]
    assert not [f"{path.relative_to(ROOT)}:{line}" for line in found], "compare codes instead"


@pytest.mark.parametrize(
    "code",
    [
        "error.message == 'x'",
        "'near' in error.hint",
        "step.says.split(' is ')",
        "facts.reason == DANGER",
        "words.search(error.message)",
        "estimate.why.replace(a, b)",
        "error.message.lower().startswith('x')",
    ],
)
def test_a_decision_by_a_text_is_found(code: str) -> None:
    assert list(prose_decisions(ast.parse(code)))
    assert not list(prose_decisions(ast.parse("done.reason == 'stop' or error.hint == '' or error.code == 'x'")))


def test_importing_the_server_is_quick_and_brings_no_engine_and_no_gradio() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); import server; took = time.perf_counter() - start; "
        "heavy = {'torch', 'transformers', 'llama_cpp', 'xllamacpp', 'gradio', 'pandas', 'numpy'}; "
        "bad = sorted(heavy & set(sys.modules)); "
        "print(took, bad)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().endswith("[]"), result.stdout


def test_another_process_at_another_time_gives_the_tests_the_same_names(request: pytest.FixtureRequest) -> None:
    """The processes that share the suite have to agree on its tests, or none of them runs."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stdout[-2000:]
    found = set(done.stdout.splitlines())
    missing = [item.nodeid for item in request.session.items if item.nodeid not in found]
    assert not missing, "parameters must not hold the time, a random number or the order of a set"
