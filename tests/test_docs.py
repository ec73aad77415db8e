"""The docs say what the code does: generated tables are current, links work, nothing is left out."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from loaders import Registry
from modules.doc_tables import TABLES
from modules.sampling.params import PARAMS
from modules.settings.store import SETTINGS
from modules.version import VERSION

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_generated_page_is_current(name: str) -> None:
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert written == TABLES[name](), f"docs/{name} is old: run python -m modules.doc_tables"


def test_every_parameter_setting_and_loader_is_documented() -> None:
    docs = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
    missing = [param.name for param in PARAMS if f"`{param.name}`" not in docs["parameters.md"]]
    missing += [setting.name for setting in SETTINGS if f"`{setting.name}`" not in docs["settings.md"]]
    for spec in Registry().specs:
        missing += [f"{spec.name}.{p.name}" for p in spec.params if f"`{p.name}`" not in docs["loaders.md"]]
    assert not missing


def test_every_hook_is_documented() -> None:
    source = (ROOT / "modules/hooks/specs.py").read_text(encoding="utf-8")
    names = re.findall(r"@hookspec[^\n]*\n(?:async )?def (\w+)", source)
    text = (ROOT / "docs/extensions.md").read_text(encoding="utf-8")
    assert names
    assert not [name for name in names if f"`{name}`" not in text and f"def {name}(" not in text]


def routes_in(folder: Path) -> set[str]:
    """Paths written in route decorators below `folder`."""
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        found |= set(re.findall(r"@\w+\.(?:get|post|put|patch|delete|websocket)\(\s*\"([^\"]+)\"", path.read_text()))
    return found


@pytest.mark.parametrize(("folder", "page"), [("modules/api", "http-api.md"), ("extensions/openai", "api.md")])
def test_every_route_is_documented(folder: str, page: str) -> None:
    routes = routes_in(ROOT / folder)
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    simple = re.sub(r"\{(\w+)(?::\w+)?\}", "{}", text)
    missing = [route for route in sorted(routes) if re.sub(r"\{(\w+)(?::\w+)?\}", "{}", route) not in simple]
    assert routes
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target and not (page.parent / target).exists():
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", [p for p in PAGES if p.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_files_named_in_the_docs_exist(page: Path) -> None:
    named = re.findall(
        r"`((?:modules|loaders|extensions|tests|docs|requirements|presets)/[\w./-]+\.\w+)`", page.read_text()
    )
    assert not [name for name in named if not (ROOT / name).exists()]


def test_the_changelog_starts_with_the_current_version_or_what_comes_after_it() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    match = re.search(r"^## \[(?!Unreleased)([^\]]+)\]", text, re.MULTILINE)
    assert match
    assert match[1] == VERSION


def test_help_names_every_flag_in_the_settings_page() -> None:
    shown = subprocess.run(
        [sys.executable, "server.py", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    flags = set(re.findall(r"`(--[a-z-]+)`", (ROOT / "docs/settings.md").read_text(encoding="utf-8")))
    assert flags
    assert not [flag for flag in flags if flag not in shown]


def test_the_map_names_every_folder_of_the_program_and_no_other() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`modules/([a-z_]+)/`", text))
    there = {path.parent.name for path in (ROOT / "modules").glob("*/__init__.py")}
    assert named == there


def test_every_file_the_docs_name_is_there() -> None:
    gone = []
    for page in [*(ROOT / "docs").rglob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "README.md", ROOT / "SECURITY.md"]:
        names = re.findall(r"`((?:modules|loaders|extensions|tests|docs)/[\w./-]+\.\w+)`", page.read_text("utf-8"))
        gone += [f"{page.name}: {name}" for name in names if not (ROOT / name).exists()]
    assert not gone, "\n".join(gone)
