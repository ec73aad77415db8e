"""`start.py lock`: what it resolves together, and that the suite decides whether the new files stay."""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path

import pytest

from modules.launcher.console import Console, StepFailed
from modules.launcher.lock import LockState, lock_path, lock_state, locked
from modules.launcher.lock_update import GROUPS, LockUpdate, check_packages
from modules.launcher.torch_build import CPU, VERSION_FILE
from tests.launcher.conftest import Checkout
from tests.launcher.local_index import make_wheel

UV = shutil.which("uv", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))) or ""


class Update(LockUpdate):
    """With an answer ready instead of uv's."""

    answer: dict[str, str]

    def resolve(self, packages: object = ()) -> dict[str, str]:
        return self.answer


def update(checkout: Checkout, out: io.StringIO, answer: dict[str, str]) -> Update:
    console = Console(out)
    made = Update(checkout.layout, checkout.installer(console), console)
    made.answer = answer
    return made


@pytest.fixture
def old(checkout: Checkout) -> Path:
    """The lock file of a checkout's base, with an old version."""
    path = lock_path(checkout.layout.requirements("base"))
    path.parent.mkdir()
    path.write_text("greeting==1.0\n")
    return path


NEW = {"base.txt": "greeting==1.1\n", "dev.txt": "pytest==9\n"}


def test_new_files_stay_where_the_suite_passes_with_them(checkout: Checkout, old: Path) -> None:
    out, seen = io.StringIO(), []
    assert update(checkout, out, NEW).run((), lambda: bool(seen.append(old.read_text())) or True)
    assert seen == ["greeting==1.1\n"], "the suite runs with the new files"
    assert {path.name: path.read_text() for path in old.parent.iterdir()} == NEW
    assert "greeting 1.0 → 1.1" in out.getvalue()


@pytest.mark.parametrize("how", ["a test fails", "a step fails", "Ctrl+C"])
def test_the_former_files_come_back_where_it_does_not(checkout: Checkout, old: Path, how: str) -> None:
    def suite() -> bool:
        if how == "a step fails":
            raise StepFailed("installing", "no")
        if how == "Ctrl+C":
            raise KeyboardInterrupt
        return False

    out = io.StringIO()
    if how == "a test fails":
        assert not update(checkout, out, NEW).run((), suite)
    else:
        with pytest.raises((StepFailed, KeyboardInterrupt)):
            update(checkout, out, NEW).run((), suite)
    assert {path.name: path.read_text() for path in old.parent.iterdir()} == {"base.txt": "greeting==1.0\n"}
    assert "The former lock files are back" in out.getvalue()
    assert "is kept" not in out.getvalue()


def test_a_lock_that_is_up_to_date_runs_no_suite(checkout: Checkout, old: Path) -> None:
    out = io.StringIO()

    def suite() -> bool:
        raise AssertionError("nothing has changed")

    assert update(checkout, out, {"base.txt": "greeting==1.0\n"}).run((), suite)
    assert "up to date" in out.getvalue()


def test_a_package_that_nobody_asks_for_is_refused(checkout: Checkout, old: Path) -> None:
    for group in GROUPS:
        checkout.layout.requirements(group).write_text("greeting\n")
    old.write_text("greeting==1.0\nindirect-one==2\n")
    check_packages(checkout.layout, ["Greeting", "indirect_one"])
    with pytest.raises(StepFailed, match="command line") as caught:
        check_packages(checkout.layout, ["greting"])
    assert "greting" in caught.value.why


@pytest.mark.skipif(not UV, reason="there is no uv in this environment")
def test_uv_resolves_all_files_together_from_the_default_index_alone(
    ready: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simple = ready.index.root / "simple"
    for name, version in (("greeting", "1.2"), ("torch", "2.13.0"), ("uv", "9.9")):
        make_wheel(simple, name, version, {f"{name}.py": b""})
    make_wheel(ready.index.root / "cpu", "torch", "2.13.0+cpu", {"torch.py": b""})
    make_wheel(ready.index.root / "own", "greeting", "1.3", {"greeting.py": b""})
    for group in GROUPS:
        ready.layout.requirements(group).write_text("greeting>=1,<2\n")
    ready.layout.requirements("dev").write_text("greeting<1.2\n")
    ready.layout.requirements("torch").write_text("torch>=2.6,<3\ngreeting\n")
    ready.environ.update({"PIP_FIND_LINKS": str(ready.index.root / "own"), "UV_CACHE_DIR": str(tmp_path / "cache")})
    monkeypatch.setattr("modules.launcher.lock_update.CPU", type(CPU)("cpu", f"{ready.index.url}/cpu"))
    installer = ready.installer()
    installer.system_uv = UV
    made = LockUpdate(ready.layout, installer, Console(io.StringIO())).resolve()
    assert set(made) == {f"{group}.txt" for group in GROUPS} | {VERSION_FILE}
    for name, text in made.items():
        if name != VERSION_FILE:
            assert [entry.text.splitlines()[0] for entry in locked(text)] == ["greeting==1.0 \\"], name
            assert "--hash=sha256:" in text
    assert made[VERSION_FILE].endswith("torch==2.13.0\n")
    monkeypatch.setattr("modules.launcher.lock_update.CPU", type(CPU)("cpu", "http://127.0.0.1:9/cpu"))
    with pytest.raises(StepFailed, match="making the lock"):
        LockUpdate(ready.layout, installer, Console(io.StringIO())).resolve()
    lock_path(ready.layout.requirements("torch")).parent.mkdir()
    lock_path(ready.layout.requirements("torch")).with_name(VERSION_FILE).write_text("torch==2.13.0\n")
    again = LockUpdate(ready.layout, installer, Console(io.StringIO())).resolve()
    assert again == made, "where PyTorch's index does not answer its version stays"
    lock_path(ready.layout.requirements("torch")).write_text(made["torch.txt"])
    assert lock_state(ready.layout.requirements("torch")) is LockState.CURRENT
