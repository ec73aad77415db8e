"""What was typed after `start.py`: the launcher's own flags, and all else for the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modules.launcher.accelerator import ENGINE_KINDS
from modules.launcher.console import StepFailed
from modules.launcher.extras import LOADERS

ALIASES = {"--model-dir": "--models-dir"}  # the server knows it too; see modules/settings/store.py

HELP = f"""\
usage: python3 start.py [flags] [server flags]     install what is missing, then start Enginehouse
       python3 start.py test [pytest arguments]    install what the tests need, then run them
       python3 start.py install                    check what is installed, bring in what is missing
       python3 start.py install LOADER             add a loader: {", ".join(LOADERS)}, all
       python3 start.py lock [PACKAGE ...]         newer versions into requirements/lock, if the tests pass

The first start makes .venv, installs requirements/base.txt and fetches a small starter model
(98 MB). Later starts need no network.

flags of the launcher:
  --no-starter         do not fetch the starter model
  --no-browser         do not open a browser
  --engine KIND        build of the llama.cpp engine: auto, {", ".join(ENGINE_KINDS)}
                       (default: the one found to fit this machine; auto looks again)
  --user-data-dir DIR  where models, chats and settings are kept (default: user_data)
  --models-dir DIR     where models are kept (default: models in the above;
                       also --model-dir)
  -h, --help           this page, and the server's flags once it is installed

flags of install:
  --torch BUILD        cpu, cuda, default, or the address of a wheel index
                       (default: chosen for this machine)
  --force              install ExLlama although no NVIDIA GPU is seen

flags of lock:
  --no-tests           do not run the suite: CI will

environment:
  ENGINEHOUSE_ENGINE_INDEX   root of a mirror of the engine's own wheel index
  ENGINEHOUSE_NO_UV          anything: install with pip instead of uv
  pip's and uv's own settings (index, proxy, certificates) are honoured
"""


@dataclass(frozen=True, slots=True)
class Options:
    """The command line, taken apart.

    command    "run", "test", "install" or "lock"
    engine     "" = keep what is installed; "auto" = look again; else a kind
    user_data  as typed, or "" for the default; it and `models` also stay in `rest`
    rest       handed on: to the server (run) or to pytest (test)
    loaders    names for install; none = only check what is there
    packages   names for lock; none = all
    tests      whether lock runs the suite
    """

    command: str = "run"
    help: bool = False
    starter: bool = True
    browser: bool = True
    engine: str = ""
    user_data: str = ""
    models: str = ""
    torch: str = ""
    force: bool = False
    loaders: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    tests: bool = True
    rest: tuple[str, ...] = ()


def parse(arguments: Sequence[str]) -> Options:
    """Take the command line apart. Raises StepFailed for a launcher flag that makes no sense."""
    words = list(arguments)
    if words and words[0] == "test":
        # Everything after `test` is pytest's, its -h included.
        return Options(command="test", rest=tuple(words[1:]))
    if words and words[0] == "install":
        return _parse_install(words[1:])
    if words and words[0] == "lock":
        return _parse_lock(words[1:])
    return _parse_run(words)


def _parse_run(words: list[str]) -> Options:
    rest: list[str] = []
    engine = ""
    folders = {"--user-data-dir": "", "--models-dir": ""}
    flags = {"--no-starter": False, "--no-browser": False, "--help": False}
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if word == "-h":
            flags["--help"] = True
        elif word in flags:
            flags[word] = True
        elif name == "--engine":
            engine = _engine(value if equals else _value(name, words))
        elif (folder := ALIASES.get(name, name)) in folders:
            folders[folder] = value if equals else _value(name, words)
            rest += [folder, folders[folder]]
        else:
            rest.append(word)
    return Options(
        help=flags["--help"], starter=not flags["--no-starter"], browser=not flags["--no-browser"],
        engine=engine, user_data=folders["--user-data-dir"], models=folders["--models-dir"], rest=tuple(rest),
    )  # fmt: skip


def _parse_install(words: list[str]) -> Options:
    loaders: list[str] = []
    torch, force, show_help = "", False, False
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if word in ("-h", "--help"):
            show_help = True
        elif word == "--force":
            force = True
        elif name == "--torch":
            torch = value if equals else _value(name, words)
        elif word in LOADERS or word == "all":
            loaders.append(word)
        else:
            raise StepFailed(
                "reading the command line",
                f"install does not know {word!r}; it takes {', '.join(LOADERS)} or all",
            )
    return Options(command="install", help=show_help, loaders=tuple(loaders), torch=torch, force=force)


def _parse_lock(words: list[str]) -> Options:
    flags = {word for word in words if word.startswith("-")}
    packages = tuple(word for word in words if word not in flags)
    if wrong := sorted(flags - {"-h", "--help", "--no-tests"}):
        raise StepFailed("reading the command line", f"lock does not know {wrong[0]!r}; it takes names of packages")
    show_help = bool(flags & {"-h", "--help"})
    return Options(command="lock", help=show_help, packages=packages, tests="--no-tests" not in flags)


def _engine(value: str) -> str:
    if value == "auto" or value in ENGINE_KINDS:
        return value
    raise StepFailed("reading the command line", f"--engine {value}: it takes auto, {', '.join(ENGINE_KINDS)}")


def _value(name: str, words: list[str]) -> str:
    if not words:
        raise StepFailed("reading the command line", f"{name} needs a value")
    return words.pop(0)
