"""uv as the installer: fetched by its lock, set up as pip is; pip in its place where it cannot be had or fails."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import sys
from pathlib import Path

import pytest

from modules.launcher.console import Console, StepFailed
from modules.launcher.lock import lock_path
from modules.launcher.lock_update import lock_text
from modules.launcher.uv import LIMITS, NO_UV, uv_environ, uv_path
from tests.launcher.conftest import Checkout
from tests.launcher.local_index import make_wheel

UV = shutil.which("uv", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))) or ""
needs_uv = pytest.mark.skipif(not UV, reason="there is no uv in this environment")
posix_only = pytest.mark.skipif(os.name != "posix", reason="a shell script stands in for uv")


def lock(checkout: Checkout, group: str, ranges: str, *wheels: Path) -> None:
    """Write a requirements file and its lock over these wheels."""
    lines = []
    for wheel in wheels:
        name, version = wheel.name.split("-")[:2]
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f"{name}=={version} \\\n    --hash=sha256:{digest}\n")
    file = checkout.layout.requirements(group)
    file.write_text(ranges)
    lock_path(file).parent.mkdir(exist_ok=True)
    lock_path(file).write_text(lock_text(file, "".join(lines)))


@pytest.fixture
def locked_checkout(ready: Checkout) -> Checkout:
    """A checkout whose base is locked to greeting 1.0, while the index has a newer one within the range."""
    simple = ready.index.root / "simple"
    wheels = [next(simple.glob(f"{name}-1.0-*.whl")) for name in ("greeting", "xllamacpp")]
    make_wheel(simple, "greeting", "1.9", {"greeting.py": b"WORD = 'newer'\n"})
    lock(ready, "base", "greeting>=1,<2\nxllamacpp==1.0\n", *wheels)
    return ready


def a_uv(checkout: Checkout, script: str) -> None:
    """Offer a uv 9.9 that is this shell script."""
    data = f"#!/bin/sh\n[ \"$1\" = --version ] && echo 'uv 9.9 (test)' && exit\n{script}\n".encode()
    wheel = make_wheel(checkout.index.root / "simple", "uv", "9.9", {"uv-9.9.data/scripts/uv": data})
    lock(checkout, "uv", "uv>=9\n", wheel)


def install(checkout: Checkout) -> str:
    out = io.StringIO()
    checkout.installer(Console(out)).install_file(checkout.layout.requirements("base"))
    return out.getvalue()


def word(checkout: Checkout) -> str:
    return checkout.installed("import greeting; print(greeting.WORD)")


def test_the_locked_version_is_installed_though_a_newer_one_is_allowed(locked_checkout: Checkout) -> None:
    assert "Installing requirements/lock/base.txt with pip" in install(locked_checkout)
    assert word(locked_checkout) == "hello"


def test_a_file_that_is_not_the_locked_one_is_refused(locked_checkout: Checkout) -> None:
    make_wheel(locked_checkout.index.root / "simple", "greeting", "1.0", {"greeting.py": b"WORD = 'evil'\n"})
    with pytest.raises(StepFailed) as caught:
        install(locked_checkout)
    assert any("hash" in line.lower() for line in caught.value.detail)
    assert "ModuleNotFoundError" in word(locked_checkout)


def test_an_edited_requirements_file_counts_and_that_it_has_no_lock_is_said(locked_checkout: Checkout) -> None:
    locked_checkout.layout.requirements("base").write_text("greeting>=1.5,<2\nxllamacpp==1.0\n")
    assert "requirements/base.txt was changed after its lock was made" in install(locked_checkout)
    assert word(locked_checkout) == "newer"


def test_a_changed_lock_is_installed_at_the_next_start(locked_checkout: Checkout) -> None:
    assert locked_checkout.start("--no-starter", "--end-with", "0").returncode == 0
    assert word(locked_checkout) == "hello"
    simple = locked_checkout.index.root / "simple"
    wheels = [next(simple.glob(name)) for name in ("greeting-1.9-*.whl", "xllamacpp-1.0-*.whl")]
    lock(locked_checkout, "base", "greeting>=1,<2\nxllamacpp==1.0\n", *wheels)
    assert locked_checkout.start("--no-starter", "--end-with", "0").returncode == 0
    assert word(locked_checkout) == "newer"


@posix_only
def test_uv_is_fetched_by_its_lock_and_does_the_work(locked_checkout: Checkout) -> None:
    a_uv(locked_checkout, 'echo "$@" > "$VIRTUAL_ENV_OUT"; env | grep ^UV_ >> "$VIRTUAL_ENV_OUT"')
    told = locked_checkout.layout.root / "told"
    locked_checkout.environ["VIRTUAL_ENV_OUT"] = str(told)
    said = install(locked_checkout)
    assert "Fetching uv 9.9" in said
    assert "Installing requirements/lock/base.txt with uv" in said
    assert "--require-hashes" in told.read_text()
    assert f"UV_DEFAULT_INDEX={locked_checkout.environ['PIP_INDEX_URL']}" in told.read_text()
    assert "Fetching uv" not in install(locked_checkout)


@posix_only
@pytest.mark.parametrize("script", ["echo 'error: no route to host' >&2; exit 2", "kill -9 $$"])
def test_where_uv_fails_pip_takes_its_place_and_that_is_said(locked_checkout: Checkout, script: str) -> None:
    a_uv(locked_checkout, script)
    assert "uv did not manage" in install(locked_checkout)
    assert word(locked_checkout) == "hello"


@posix_only
def test_where_uv_cannot_be_had_or_run_pip_takes_its_place_and_that_is_said(locked_checkout: Checkout) -> None:
    a_uv(locked_checkout, "")
    wheel = next((locked_checkout.index.root / "simple").glob("uv-*.whl"))
    wheel.rename(wheel.with_suffix(".gone"))
    said = install(locked_checkout)
    assert "No uv: " in said
    assert "pip installs the packages instead" in said
    assert word(locked_checkout) == "hello"
    wheel.with_suffix(".gone").rename(wheel)
    install(locked_checkout)
    uv_path(locked_checkout.layout.venv).write_text("#!/bin/sh\nexit 126\n")  # built for another machine
    assert "it does not run on this machine" in install(locked_checkout)


@posix_only
def test_uv_can_be_turned_off(locked_checkout: Checkout) -> None:
    a_uv(locked_checkout, "exit 1")
    locked_checkout.environ[NO_UV] = "1"
    assert "uv" not in install(locked_checkout)


@needs_uv
def test_the_real_uv_installs_from_the_same_sources(locked_checkout: Checkout, tmp_path: Path) -> None:
    version = locked_checkout.installed(f"import subprocess; print(subprocess.getoutput({str(UV)!r} + ' --version'))")
    file = locked_checkout.layout.requirements("uv")
    file.write_text("uv\n")
    lock_path(file).write_text(lock_text(file, f"uv=={version.split()[1]} \\\n    --hash=sha256:0\n"))
    shutil.copy(UV, uv_path(locked_checkout.layout.venv))
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("something<2\n")
    locked_checkout.environ.update({"PIP_CONSTRAINT": str(constraints), "UV_CACHE_DIR": str(tmp_path / "cache")})
    said = install(locked_checkout)
    assert "with uv" in said
    assert "did not manage" not in said, said
    assert word(locked_checkout) == "hello"


@pytest.mark.parametrize(
    ("pip", "uv"),
    [
        ({"index-url": "https://mirror.example/simple"}, {"UV_DEFAULT_INDEX": "https://mirror.example/simple"}),
        ({"extra-index-url": "https://a.example https://b.example"}, {"UV_INDEX": "https://a.example https://b.example"}),
        ({"find-links": "/wheels /more"}, {"UV_FIND_LINKS": "/wheels,/more"}),
        ({"cert": "/etc/ca.pem"}, {"SSL_CERT_FILE": "/etc/ca.pem"}),
        ({"proxy": "http://p.example:1"}, {"HTTPS_PROXY": "http://p.example:1", "HTTP_PROXY": "http://p.example:1"}),
        ({"trusted-host": "mirror.example"}, {"UV_INSECURE_HOST": "mirror.example"}),
        ({"no-index": "true"}, {"UV_NO_INDEX": "1"}),
        ({"no-cache-dir": "1"}, {"UV_NO_CACHE": "1"}),
        ({"constraint": "/c.txt"}, {"UV_CONSTRAINT": "/c.txt"}),
    ],
    ids=lambda value: next(iter(value)),
)  # fmt: skip
def test_what_pip_is_set_up_with_is_handed_to_uv(pip: dict[str, str], uv: dict[str, str]) -> None:
    plain = uv_environ({}, {})
    assert uv_environ(pip, {}) == plain | uv


def test_uvs_own_variables_win_and_limits_can_be_left_out() -> None:
    assert "UV_DEFAULT_INDEX" not in uv_environ({"index-url": "https://a"}, {"UV_DEFAULT_INDEX": "https://b"})
    assert uv_environ({"constraint": "/c.txt"}, {}, LIMITS) == uv_environ({}, {})
