"""A checkout in miniature: start.py and its modules, tiny packages behind a local index, a stand-in server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from modules.launcher.console import Console
from modules.launcher.installer import Installer
from modules.launcher.layout import Layout, find_layout
from tests.launcher.local_index import LocalIndex, make_wheel

ROOT = Path(__file__).resolve().parents[2]
ENGINE = "1.0"
SERVER = """
import argparse, http.server, json, os, pathlib, signal, sys
import greeting
parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=0, help="port to listen on")
parser.add_argument("--user-data-dir", default=str(pathlib.Path(__file__).parent / "user_data"))
parser.add_argument("--end-with", type=int)
options = parser.parse_args()
if options.end_with is not None:
    sys.exit(options.end_with)
server = http.server.HTTPServer(("127.0.0.1", options.port), http.server.SimpleHTTPRequestHandler)
data = pathlib.Path(options.user_data_dir)
data.mkdir(exist_ok=True)
url = "http://127.0.0.1:%d" % server.server_port
print("listening at", url, greeting.WORD, flush=True)
try:  # from the file on it may be sent Ctrl+C
    (data / "run.json.new").write_text(json.dumps({"url": url, "port": server.server_port, "pid": os.getpid()}))
    os.replace(data / "run.json.new", data / "run.json")
    server.serve_forever()
except KeyboardInterrupt:
    print("server ended in order", flush=True)
"""


@dataclass(frozen=True)
class Checkout:
    """The miniature: its folder, its index, and the environment variables its commands get."""

    layout: Layout
    index: LocalIndex
    environ: dict[str, str]

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(self.layout.root / "start.py"), *arguments]

    def start(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run start.py to its end."""
        env = self.environ | environ
        return subprocess.run(
            self.command(*arguments), env=env, capture_output=True, text=True, timeout=250, check=False
        )  # fmt: skip

    def installer(self, console: Console | None = None) -> Installer:
        return Installer(self.layout, console or Console(), self.environ)

    def installed(self, code: str) -> str:
        """What a line of Python prints inside the environment."""
        done = subprocess.run(
            [str(self.layout.python), "-c", code], capture_output=True, text=True, timeout=120, check=False
        )
        return (done.stdout or done.stderr).strip()


def plain_environ(index: LocalIndex) -> dict[str, str]:
    """This process's environment without pip's and uv's settings, a desktop, or a uv that happens to be installed."""
    dropped = ("PIP_", "UV_", "CI", "DISPLAY", "WAYLAND_DISPLAY", "SSH_", "PYTEST_", "COV_")
    environ = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    folders = environ.get("PATH", "").split(os.pathsep)
    environ["PATH"] = os.pathsep.join(folder for folder in folders if not (Path(folder) / "uv").exists())
    return environ | {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": f"{index.url}/simple",
        "PIP_RETRIES": "0",
        "PIP_NO_CACHE_DIR": "1",
        "ENGINEHOUSE_ENGINE_INDEX": f"{index.url}/engine",
        "no_proxy": "127.0.0.1",
    }


@pytest.fixture(scope="session")
def seed_venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One environment with pip, made once and copied: making one takes seconds."""
    folder = tmp_path_factory.mktemp("seed") / ".venv"
    venv.create(folder, with_pip=True, symlinks=os.name == "posix")
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    """A checkout without an environment yet."""
    root = tmp_path / "checkout"
    (root / "modules").mkdir(parents=True)
    (root / "modules" / "__init__.py").touch()
    shutil.copytree(
        ROOT / "modules" / "launcher", root / "modules" / "launcher", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "start.py", root)
    (root / "server.py").write_text(SERVER)
    (root / "requirements").mkdir()
    (root / "requirements" / "base.txt").write_text(f"greeting==1.0\nxllamacpp=={ENGINE}\n")
    (root / "user_data" / "models").mkdir(parents=True)
    index = LocalIndex(tmp_path / "index")
    make_wheel(index.root / "simple", "greeting", "1.0", {"greeting.py": b"WORD = 'hello'\n"})
    make_wheel(index.root / "simple", "xllamacpp", ENGINE, {"xllamacpp.py": b"BUILD = 'cpu'\n"})
    yield Checkout(find_layout(root, "", "", {}), index, plain_environ(index))
    index.close()


@pytest.fixture
def ready(checkout: Checkout, seed_venv: Path) -> Checkout:
    """A checkout with an empty environment that has pip. Its files are links: remove one before writing to it."""
    shutil.copytree(seed_venv, checkout.layout.venv, symlinks=True, copy_function=os.link)
    return checkout
