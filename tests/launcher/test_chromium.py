"""Getting a Chromium, and saying why there is none."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modules.launcher import chromium
from modules.launcher.chosen import Chosen
from modules.launcher.console import Console
from modules.launcher.tool import Answer
from tests.launcher.conftest import ROOT, Checkout

linux_only = pytest.mark.skipif(not Path("/usr").is_dir() or os.name != "posix", reason="apt-get is Debian's")


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """`start.py test` tells the tests which Chromium to take; what is tested here is the choosing."""
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.delenv(chromium.NO_CHROMIUM, raising=False)


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@linux_only
def test_a_chromium_that_runs_is_used_and_a_stub_that_does_not_is_passed_over(
    ready: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "chromium", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert chromium.find_chromium(ready.installer()) == ""
    program(tmp_path / "bin", "google-chrome", "echo 1.0")
    assert chromium.find_chromium(ready.installer()) == str(tmp_path / "bin" / "google-chrome")


@linux_only
def test_apt_get_is_used_as_root_or_with_sudo_that_asks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert "no apt-get" in chromium.apt_prefix().why
    program(tmp_path / "bin", "apt-get", "exit 0")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert chromium.apt_prefix().value == []
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert chromium.apt_prefix().value is None
    program(tmp_path / "bin", "sudo", "exit 0")
    assert chromium.apt_prefix(lambda command: Answer(False, "a password is required", 1)).value is None
    assert chromium.apt_prefix(lambda command: Answer(True, "")).value == ["sudo", "-n"]


@linux_only
def test_where_no_way_leads_to_a_chromium_each_reason_is_said(
    ready: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "apt-get", 'echo "E: Unable to locate package $5"; exit 100')
    program(tmp_path / "bin", "env", 'shift; exec "$@"')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    out = io.StringIO()
    chosen = chromium.ensure_chromium(ready.layout, ready.installer(), Console(out))
    assert chosen.value == ""
    assert "Unable to locate package" in chosen.why
    assert "No module named playwright" in chosen.why
    assert "browser tests will be skipped" in out.getvalue()
    assert "sudo apt-get install chromium" in out.getvalue()


@pytest.mark.parametrize("chosen", [Chosen("", "no way to one"), Chosen(sys.executable, "found")])
def test_without_a_chromium_browser_tests_are_skipped_with_the_reason_and_else_they_take_that_one(
    chosen: Chosen[str], tmp_path: Path
) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import browser\n")
    (tmp_path / "test_page.py").write_text("def test_page(browser):\n    pass\n")
    command = [sys.executable, "-m", "pytest", "-ra", "--rootdir", str(tmp_path), "-p", "no:cacheprovider", tmp_path]
    environ = {key: value for key, value in os.environ.items() if key not in ("CHROMIUM", chromium.NO_CHROMIUM)}
    environ |= chromium.for_tests(chosen)
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)
    if chosen.value:
        assert f"<launching> {sys.executable}" in done.stdout  # it is no browser: the test cannot pass
    else:
        assert "1 skipped" in done.stdout, done.stdout
        assert "there is no Chromium: no way to one" in done.stdout


@linux_only
def test_apt_get_brings_it(ready: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bin"
    program(folder, "apt-get", f'test "$1" = update || /bin/cp {folder}/source {folder}/chromium')
    program(folder, "source", "echo Chromium 1.0")
    program(folder, "env", 'shift; exec "$@"')
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    chosen = chromium.ensure_chromium(ready.layout, ready.installer(), Console(io.StringIO()))
    assert chosen.value == str(folder / "chromium")
    assert chosen.why == "installed with apt-get"
