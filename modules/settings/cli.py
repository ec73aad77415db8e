"""The command line, made from SETTINGS."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from modules.errors import BadParameter
from modules.settings.setting import Setting, Value
from modules.settings.store import SETTINGS, Settings
from modules.version import VERSION

_END = """\
Every flag can stand in settings.yaml in the user-data folder, without the dashes, and be given as an
environment variable: ENGINEHOUSE_PORT=8000 is --port 8000. The command line wins over the environment,
the environment over the file. Nothing given here is written to the file.
"""


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one short sentence with the next step."""

    def error(self, message: str) -> NoReturn:
        text = message[:1].upper() + message[1:]
        self.exit(2, f"{text if text[-1] in '.?' else text + '.'}\nSee all flags with: python {self.prog} --help\n")


def parse(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings for this start.

    Args:
        argv: the words after the program's name; None = those of this process
        environ: the environment; None = that of this process

    Raises: SystemExit(2) with a sentence on stderr for a bad flag or value, SystemExit(0) after --help or --version.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser = make_parser()
    found, strange = parser.parse_known_args(words)
    if strange:
        parser.error(_strange(parser, strange[0]))
    given: dict[str, Value] = vars(found)
    return Settings(given, os.environ if environ is None else environ)


def make_parser() -> argparse.ArgumentParser:
    """The parser; also what docs/settings.md and --help are made from."""
    parser = _Parser(
        prog="server.py",
        description="A workbench and API server for language models on your own machine.",
        epilog=_END,
        allow_abbrev=False,
        add_help=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=_Formatter,
    )
    groups: dict[str, argparse._ArgumentGroup] = {}
    for setting in SETTINGS:
        group = groups.setdefault(setting.group, parser.add_argument_group(setting.group))
        _add(group, setting)
    about = parser.add_argument_group("About")
    about.add_argument("--help", "-h", action="help", help="Show this and end.")
    about.add_argument(
        "--version", action="version", version=f"Enginehouse {VERSION}", help="Show the version and end."
    )
    return parser


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Help with a wide left column, so that most flags and their text share a line."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=100)

    def add_usage(self, usage: str | None, actions: Any, groups: Any, prefix: str | None = None) -> None:
        super().add_usage("python server.py [flags]", actions, groups, prefix)


def _add(group: argparse._ArgumentGroup, setting: Setting) -> None:
    text = _help(setting)
    if setting.kind == "bool":
        flag, opposite = setting.flag, setting.flag.replace("--", "--no-", 1)
        shown, hidden = (opposite, flag) if setting.default else (flag, opposite)
        turns_on = not setting.default
        group.add_argument(shown, dest=setting.name, action="store_const", const=turns_on, help=text)
        group.add_argument(hidden, dest=setting.name, action="store_const", const=not turns_on, help=argparse.SUPPRESS)
        return
    more: dict[str, Any] = {"dest": setting.name, "metavar": setting.metavar or None}
    if setting.kind == "choice":
        more["metavar"] = "|".join(setting.choices)
    if setting.kind == "list":
        more.update(nargs="*", action=_ListAction, metavar=setting.metavar)
    else:
        more["type"] = _reader(setting)
    group.add_argument(setting.flag, help=text, **more)
    for alias in setting.aliases:
        group.add_argument(alias, **{**more, "help": argparse.SUPPRESS})


def _help(setting: Setting) -> str:
    text = setting.help
    if setting.kind == "list":
        text += " Several: with spaces or commas between."
        if setting.default:
            text += f" Default: {' '.join(setting.default)}."  # type: ignore[arg-type]
    elif setting.default not in ("", False, True):
        text += f" Default: {setting.default}."
    return text.replace("%", "%%")


def _reader(setting: Setting) -> Callable[[str], Value]:
    def read(text: str) -> Value:
        try:
            return setting.parse(text)
        except BadParameter as error:
            raise argparse.ArgumentTypeError(error.message.rstrip(".")) from None

    return read


class _ListAction(argparse.Action):
    """Joins `--flag a b`, `--flag a,b` and `--flag a --flag b` to one tuple."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        earlier: tuple[str, ...] = getattr(namespace, self.dest, ())
        words = [one.strip() for value in values for one in value.split(",")]
        setattr(namespace, self.dest, (*earlier, *(one for one in words if one)))


def _strange(parser: argparse.ArgumentParser, word: str) -> str:
    """What to say about a word nobody asked for, naming the nearest flag."""
    flag = word.split("=", 1)[0]
    if not flag.startswith("-"):
        return f"{word!r} does not belong to a flag"
    known = [one for action in parser._actions for one in action.option_strings]
    near = difflib.get_close_matches(flag.replace("_", "-").casefold(), known, n=1, cutoff=0.6)
    return f"There is no flag {flag}." + (f" Did you mean {near[0]}?" if near else "")
