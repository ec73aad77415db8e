"""The environment: torn packages, the lock, the stamp."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from modules.launcher import venv
from modules.launcher.console import Console, StepFailed
from modules.launcher.environment import Environment
from modules.launcher.layout import find_layout, has_a_model
from modules.launcher.stamp import Engine, Stamp, read_stamp, venv_version, write_stamp
from tests.launcher.conftest import Checkout


def with_greeting(checkout: Checkout) -> Path:
    checkout.installer(Console(io.StringIO())).install_file(checkout.layout.requirements("base"))
    return venv.site_packages(checkout.layout)


def test_whole_packages_are_left_alone(ready: Checkout) -> None:
    with_greeting(ready)
    assert venv.drop_torn_packages(ready.layout) == []


@pytest.mark.parametrize(
    "missing", ["greeting.py", "greeting-1.0.dist-info/INSTALLER", "greeting-1.0.dist-info/RECORD"]
)
def test_a_package_with_a_missing_file_is_forgotten(ready: Checkout, missing: str) -> None:
    site = with_greeting(ready)
    (site / missing).unlink()
    assert venv.drop_torn_packages(ready.layout) == ["greeting-1.0"]
    with_greeting(ready)
    assert ready.installed("import greeting; print(greeting.WORD)") == "hello"


def test_a_package_with_a_short_file_is_forgotten(ready: Checkout) -> None:
    site = with_greeting(ready)
    (site / "greeting.py").write_text("WO")
    assert venv.drop_torn_packages(ready.layout) == ["greeting-1.0"]


def test_what_pip_parked_during_an_upgrade_is_removed(ready: Checkout) -> None:
    site = with_greeting(ready)
    (site / "~reeting").mkdir()
    venv.drop_torn_packages(ready.layout)
    assert not (site / "~reeting").exists()


def test_an_environment_of_another_python_is_not_used(ready: Checkout) -> None:
    assert venv.is_usable(ready.layout)
    config = ready.layout.venv / "pyvenv.cfg"
    text = config.read_text().replace(f"version = {venv_version(ready.layout.venv)}", "version = 3.1")
    config.unlink()
    config.write_text(text)
    assert not venv.is_usable(ready.layout)


def test_a_folder_without_an_environment_is_not_usable(tmp_path: Path) -> None:
    assert not venv.is_usable(find_layout(tmp_path, "", "", {}))


def test_the_lock_is_waited_for_and_dies_with_its_holder(tmp_path: Path) -> None:
    layout = find_layout(tmp_path, "", "", {})
    root = Path(__file__).resolve().parents[2]
    code = (
        "import sys, time; from modules.launcher import venv; "
        "from modules.launcher.layout import find_layout; from modules.launcher.console import Console\n"
        "with venv.held(find_layout(sys.argv[1], '', '', {}), Console()):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=root, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with open(layout.venv / venv.LOCK_NAME, "a+b") as file:
            assert not venv._try_lock(file.fileno())
        holder.kill()
        holder.wait()
    said = io.StringIO()
    with venv.held(layout, Console(said)):
        assert said.getvalue() == ""


def test_a_stamp_comes_back_as_it_was_written(tmp_path: Path) -> None:
    stamp = Stamp("3.12", {"base": "abc"}, Engine("auto", "cuda", "cu132", "x==1", "why"), True)
    write_stamp(tmp_path / "stamp.json", stamp)
    assert read_stamp(tmp_path / "stamp.json") == stamp
    assert [path.name for path in tmp_path.iterdir()] == ["stamp.json"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"python": "3.11"}', '{"python": "3", "groups": 1, "complete": true}']
)
def test_a_stamp_that_cannot_be_read_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "stamp.json").write_text(text)
    assert read_stamp(tmp_path / "stamp.json") == Stamp()


def test_too_little_disk_space_is_said_before_anything_is_installed(
    ready: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 50_000_000})())
    with pytest.raises(StepFailed, match="installing") as caught:
        Environment(ready.layout, Console(io.StringIO())).ensure(("base",), "cpu")
    assert "has 50 MB free" in caught.value.why
    assert ready.index.requests == []


def test_a_loader_that_can_no_longer_be_installed_does_not_keep_the_server_from_starting(ready: Checkout) -> None:
    requirements = ready.layout.root / "requirements"
    (requirements / "llama-cpp-python.txt").write_text("greeting==1.0\n")
    assert ready.start("--no-starter", "--end-with", "0").returncode == 0
    assert ready.start("install", "llama-cpp-python").returncode == 0
    assert set(read_stamp(ready.layout.stamp).groups) == {"base", "llama-cpp-python"}
    (requirements / "llama-cpp-python.txt").write_text("no-such-thing==1.0\n")
    done = ready.start("--no-starter", "--end-with", "0")
    assert done.returncode == 0, done.stdout
    assert "To bring it back: python3 start.py install llama-cpp-python" in done.stdout
    ready.index.requests.clear()
    assert ready.start("--no-starter", "--end-with", "0").returncode == 0
    assert ready.index.requests == []


@pytest.mark.parametrize(("path", "expected"), [("a.gguf", True), ("org/name/a.safetensors", True), ("a.txt", False)])
def test_models_are_found_by_their_files(tmp_path: Path, path: str, expected: bool) -> None:
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).touch()
    assert has_a_model(tmp_path) is expected
    assert not has_a_model(tmp_path / "missing")
