"""The launcher's commands, step by step: run, test, install, lock, help."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from modules.launcher.chromium import ensure_chromium, for_tests
from modules.launcher.console import Console, StepFailed
from modules.launcher.environment import Environment
from modules.launcher.extras import selected
from modules.launcher.layout import Layout, find_layout, has_a_model
from modules.launcher.lock_update import LockUpdate, check_packages
from modules.launcher.options import HELP, Options, parse
from modules.launcher.serve import browser_wanted, serve, server_help
from modules.launcher.starter import STARTER, StarterFetcher, is_fetched
from modules.launcher.tool import ask

TESTED_LOADERS = ("transformers",)
"""llama-cpp-python would be compiled for ten minutes: whoever wants its tests installs it."""


def run(arguments: Sequence[str], root: str) -> int:
    """Do what was typed after `start.py`; returns the exit code. A failed step is told in words, not in a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an old console's character set must not end an installation
    console = Console()
    try:
        options = parse(arguments)
        # The tests look for the starter model in the checkout, wherever the person keeps their own.
        environ = {} if options.command in ("test", "lock") else os.environ
        layout = find_layout(root, options.user_data, options.models, environ)
        if options.help:
            return _help(layout, console)
        command = {"run": _run, "test": _test, "install": _install, "lock": _lock}[options.command]
        return command(options, layout, console)
    except StepFailed as error:
        console.failed(error, _typed(arguments))
    except BrokenPipeError:
        # Whoever read our output has gone (start.py --help | head): nobody is left to tell anything.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        # The disk or the rights: a step that has not foreseen it still ends in words.
        console.failed(StepFailed("the last step above", f"{error}"), _typed(arguments))
    return 1


def _help(layout: Layout, console: Console) -> int:
    console.say(HELP)
    flags = server_help(layout)
    if flags:
        console.say(f"flags of the server:\n\n{flags}")
    else:
        console.say("The server's flags are shown here once it is installed.")
    return 0


def _run(options: Options, layout: Layout, console: Console) -> int:
    environment = Environment(layout, console)
    environment.ensure(("base",), options.engine)
    if options.starter and not is_fetched(layout.models) and not has_a_model(layout.models):
        StarterFetcher(layout, environment.installer, console).fetch()
    wanted = browser_wanted(options.browser, options.rest, os.environ, sys.platform)
    return serve(layout, options.rest, browser=wanted.value)


def _test(options: Options, layout: Layout, console: Console) -> int:
    environment = Environment(layout, console)
    environment.ensure(("base", "dev"), "")
    return _run_suite(environment, options.rest, layout, console)


def _run_suite(environment: Environment, rest: Sequence[str], layout: Layout, console: Console) -> int:
    """Bring in what else the tests need, run them, and give back pytest's exit code."""
    if not (layout.models / STARTER.file_name).exists():
        StarterFetcher(layout, environment.installer, console).fetch()
    _add_tested_loaders(environment, console)
    chromium = ensure_chromium(layout, environment.installer, console)
    rest = tuple(rest) or tuple(side_by_side(os.cpu_count()))
    command = [str(layout.python), "-m", "pytest", *rest]
    console.say("Running the tests: " + shlex.join(["pytest", *rest]))
    child = subprocess.Popen(command, cwd=layout.root, env={**os.environ, **for_tests(chromium)})
    while True:
        try:
            code = child.wait()
            return code if code >= 0 else 128 - code  # ended by a signal: the shell's way to say so
        except KeyboardInterrupt:
            # pytest got the same Ctrl+C and is writing its summary.
            continue


def side_by_side(cores: int | None) -> list[str]:
    """pytest's arguments for the whole suite: about a third of it waits, so files run beside each other, one more than
    there are cores."""
    return ["-n", str(min(4, max(1, cores or 1) + 1)), "--dist", "loadfile"]


def _add_tested_loaders(environment: Environment, console: Console) -> None:
    """The loaders the tests run for real on any machine. Without one of them its tests are skipped, with the reason."""
    for name in TESTED_LOADERS:
        if environment.has(name):
            continue
        try:
            environment.add(name, "")
        except StepFailed as error:
            console.say(f"Note: {error.message} failed, so the tests of {name} are skipped: {error.why}")


def _install(options: Options, layout: Layout, console: Console) -> int:
    environment = Environment(layout, console)
    if not options.loaders:
        environment.ensure(("base",), "", check=True)
        console.say("All that is needed is installed.")
        return 0
    names = selected(options.loaders, environment.machine, force=options.force, console=console)
    environment.ensure(("base",), "")
    for name in names:
        environment.add(name, options.torch)
    console.say(f"Installed: {', '.join(names)}." if names else "Nothing was installed.")
    if names:
        console.say("A server that is running sees it after a restart.")
    return 0


def _lock(options: Options, layout: Layout, console: Console) -> int:
    """Renew the lock; the suite decides whether it is kept."""
    check_packages(layout, options.packages)
    environment = Environment(layout, console)
    if not environment.installer.has_pip():
        environment.ensure(("base",), "")  # uv needs an environment to be in; what is locked now comes afterwards

    def suite_passes() -> bool:
        renewed = Environment(layout, console)  # the installer may be another one now
        renewed.ensure(("base", "dev"), "")
        if not options.tests:
            return True
        return _run_suite(renewed, (), layout, console) == 0

    return 0 if LockUpdate(layout, environment.installer, console).run(options.packages, suite_passes) else 1


def _typed(arguments: Sequence[str]) -> str:
    """The command line to type again, with the interpreter by the name it was most likely called by."""
    name = Path(sys.executable).name.removesuffix(".exe")
    found = shutil.which(name)
    # Another Python may go by that name, and a stand-in (pyenv's, say) may lead to ours.
    ours = found is not None and ask([found, "-c", "import sys; print(sys.executable)"]).text.strip() == sys.executable
    words = [name if ours else sys.executable]
    words += [os.path.relpath(sys.argv[0]) if sys.argv and sys.argv[0] else "start.py", *arguments]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
