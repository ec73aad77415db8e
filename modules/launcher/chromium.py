"""A Chromium for the browser tests, from wherever this machine can get one."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable

from modules.launcher.chosen import Chosen
from modules.launcher.console import Console
from modules.launcher.installer import Installer
from modules.launcher.layout import Layout
from modules.launcher.tool import Ask, Ended, ask, follow

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
NO_CHROMIUM = "ENGINEHOUSE_NO_CHROMIUM"
# A browser without any font measures all text as empty.
PACKAGES = ("chromium", "fonts-dejavu-core")
# Printed by the environment's playwright: where its own Chromium is, "" where it is not installed.
OWN_CHROMIUM = (
    "import os\nfrom playwright.sync_api import sync_playwright\nwith sync_playwright() as p:\n"
    "    path = p.chromium.executable_path\n    print(path if os.path.exists(path) else '')"
)


def find_chromium(installer: Installer) -> str:
    """Path of a Chromium that is there already, "" without one. A snap's stub that runs nothing does not count."""
    for name in (os.environ.get("CHROMIUM", ""), *NAMES):
        path = shutil.which(name)
        if path and ask([path, "--version"], timeout=60).ok:
            return path
    answer = installer.python(OWN_CHROMIUM)
    return answer.text.strip() if answer.ok else ""


def apt_prefix(run: Ask = ask) -> Chosen[list[str] | None]:
    """The words to put before apt-get, or None where it cannot be used, with the reason."""
    if sys.platform != "linux" or not shutil.which("apt-get"):
        return Chosen(None, "this system has no apt-get")
    if os.geteuid() == 0:
        return Chosen([], "running as root")
    if shutil.which("sudo") and run(["sudo", "-n", "true"]).ok:
        return Chosen(["sudo", "-n"], "sudo asks for no password")
    return Chosen(None, "apt-get needs root, or sudo without a password")


def ensure_chromium(layout: Layout, installer: Installer, console: Console) -> Chosen[str]:
    """Find or install a Chromium. The value is its path, "" where there is none; never raises for that."""
    found = find_chromium(installer)
    if found:
        return Chosen(found, "already there")
    reasons = []
    apt = apt_prefix()
    if apt.value is None:
        reasons.append(apt.why)
    else:
        console.say(f"Installing Chromium with apt-get ({apt.why}) …")
        reasons.append(_apt_install(apt.value, layout, console))
        found = find_chromium(installer)
        if found:
            return Chosen(found, "installed with apt-get")
    console.say("Installing Chromium with playwright …")
    ended = _follow([str(layout.python), "-m", "playwright", "install", "chromium"], layout, console)
    reasons.append(f"playwright install: {ended.cause()}")
    found = find_chromium(installer)
    if found:
        return Chosen(found, "installed with playwright")
    why = "; ".join(reason for reason in reasons if reason)
    console.say(f"Note: there is no Chromium, so the browser tests will be skipped ({why}).")
    console.say(f"      To have them run:  {_by_hand()}")
    return Chosen("", why)


def _by_hand() -> str:
    """What a person can do where the launcher may not."""
    if sys.platform == "linux" and shutil.which("apt-get"):
        return f"sudo apt-get update && sudo apt-get install {' '.join(PACKAGES)}"
    return "install Chromium or Google Chrome so that it is on PATH"


def for_tests(chosen: Chosen[str]) -> dict[str, str]:
    """What tests/conftest.py has to know, as environment variables: which Chromium, or why there is none."""
    return {"CHROMIUM": chosen.value} if chosen.value else {NO_CHROMIUM: f"there is no Chromium: {chosen.why}"}


def _apt_install(prefix: list[str], layout: Layout, console: Console) -> str:
    """Returns "" or what went wrong."""
    # env: sudo starts with a fresh environment.
    quiet = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    for words in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
        ended = _follow([*quiet, *words], layout, console)
        if ended.code != 0 and words[0] == "install":
            return f"apt-get: {ended.cause()}"
    return ""


def _follow(command: list[str], layout: Layout, console: Console) -> Ended:
    show: Callable[[str], None] = lambda line: console.progress(line.strip())  # noqa: E731
    try:
        return follow(command, on_line=show, log=layout.log)
    except OSError as error:
        return Ended(127, (str(error),))
