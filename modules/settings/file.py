"""settings.yaml: every setting explained, what the person wrote kept.

A setting at its default stands as a comment, so a better default of a later version takes effect. A
change replaces only its own lines; comments and keys of other programs or versions stay.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from modules.disk.durable import durable_write
from modules.disk.yaml_mapping import read_mapping
from modules.disk.yaml_text import yaml_text

_PRIVATE = 0o600  # it may hold the API key
_TITLE = """\
# Settings of Enginehouse.
# Take the # away in front of a setting to change it. Flags and ENGINEHOUSE_... variables win over this file.
# The program writes here when you change something on the Settings tab; your own comments stay.
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting as the file shows it: its name, its default, what to say about it, the heading above it."""

    name: str
    default: Any
    comment: str
    group: str


class SettingsFile:
    """One commented YAML file of plain values."""

    def __init__(self, path: Path, entries: Sequence[Entry]) -> None:
        self.path = path
        self._entries = tuple(entries)

    def read(self) -> tuple[dict[str, Any], list[str]]:
        """The values the file holds, unchecked, and what was wrong with it, in people's words."""
        value, problems = read_mapping(self.path, by_hand=True)
        return value or {}, problems

    def make(self) -> bool:
        """Write the file with every setting explained when there is none. True when it was written."""
        if self.path.exists():
            return False
        durable_write(self.path, self._fresh({}), mode=_PRIVATE)
        return True

    def write(self, name: str, value: Any) -> tuple[dict[str, Any], list[str]]:
        """Set one value, leaving everything else as it stands now; gives what `read` would give afterwards.

        Raises: StorageError when the disk refuses.
        """
        value = list(value) if isinstance(value, tuple) else value
        held, problems = self.read()
        default = next(entry.default for entry in self._entries if entry.name == name)
        wanted = {key: one for key, one in held.items() if key != name}
        if value != default:
            wanted[name] = value
        text = self.path.read_text("utf-8-sig") if self.path.exists() else self._fresh({})
        edited = _replaced(text, name, _line(name, value, comment=value == default))
        if _loaded(edited) != wanted:
            edited = self._fresh(wanted)
        durable_write(self.path, edited, mode=_PRIVATE)
        return wanted, problems

    def _fresh(self, values: Mapping[str, Any]) -> str:
        """The whole file, made anew."""
        out = [_TITLE]
        group = ""
        for entry in self._entries:
            if entry.group != group:
                group = entry.group
                out.append(f"\n# ── {group} ──\n")
            out.append("\n" + textwrap.fill(entry.comment, 100, initial_indent="# ", subsequent_indent="# ") + "\n")
            value = values.get(entry.name, entry.default)
            out.append(_line(entry.name, value, comment=entry.name not in values))
        strange = {name: value for name, value in values.items() if name not in {one.name for one in self._entries}}
        if strange:
            out.append("\n# ── Not known to this version, kept ──\n\n")
            out.append(yaml_text(strange))
        return "".join(out)


def _line(name: str, value: Any, *, comment: bool) -> str:
    inner = yaml_text([value], default_flow_style=True, width=10_000).strip()[1:-1]
    return f"{'# ' if comment else ''}{name}: {inner}\n"


def _loaded(text: str) -> Any:
    try:
        return yaml.safe_load(text) or {}
    except yaml.YAMLError:
        return None


def _replaced(text: str, name: str, line: str) -> str:
    """`text` with the lines of key `name` replaced; else its commented line; else `line` at the end."""
    lines = text.splitlines(keepends=True)
    span = _span(text, name)
    if span is None:
        span = next(((n, n + 1) for n, one in enumerate(lines) if one.startswith(f"# {name}:")), None)
    if span is None:
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += "\n"
        span = (len(lines), len(lines))
    return "".join([*lines[: span[0]], line, *lines[span[1] :]])


def _span(text: str, name: str) -> tuple[int, int] | None:
    """First line of key `name` and the line after its value; None when the key is not there."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return None
    if not isinstance(node, yaml.MappingNode):
        return None
    for key, value in node.value:
        if key.value == name:
            while isinstance(value, (yaml.SequenceNode, yaml.MappingNode)) and not value.flow_style and value.value:
                last = value.value[-1]
                value = last[1] if isinstance(last, tuple) else last
            end = value.end_mark.line + (1 if value.end_mark.column else 0)
            return key.start_mark.line, max(end, key.start_mark.line + 1)
    return None
