"""Presets: named sets of sampling values, one YAML file each.

A file holds what differs from neutral and nothing else. Files of text-generation-webui and SillyTavern
(JSON) are read as they are, and ours are written so that text-generation-webui can read them. A preset of the
person's own hides a shipped one of the same name; a shipped one is never changed.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules.disk.durable import LAST_GOOD, make_folder, remove_durably, write_yaml
from modules.disk.yaml_mapping import read_mapping
from modules.errors import BadParameter, BadRequest, NotFound, StorageError
from modules.sampling.params import BY_NAME, CANONICAL, check_values, read_values, without_neutral
from modules.settings.paths import inside
from modules.types import ParamValue

_ENDINGS = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class PresetInfo:
    """A preset in the list; `shipped` ones cannot be changed or deleted."""

    name: str
    shipped: bool


@dataclass(frozen=True, slots=True)
class Preset:
    """What a file holds.

    values    checked values by PARAMS name
    unknown   keys that are no parameter of this version; they stay in the file
    problems  what was wrong, in people's words; the rest is used
    """

    name: str
    values: Mapping[str, ParamValue]
    unknown: Mapping[str, Any]
    problems: tuple[str, ...]


class Presets:
    """The presets that came with the program and those of the person. Calls read the disk."""

    def __init__(self, shipped: Path, own: Path) -> None:
        self._shipped = shipped
        self._own = own

    def names(self) -> list[PresetInfo]:
        """Every preset: the shipped ones, then the person's own, each by name."""
        own = _names_in(self._own)
        hidden = {name.casefold() for name in own}
        shipped = [name for name in _names_in(self._shipped) if name.casefold() not in hidden]
        return [PresetInfo(name, True) for name in shipped] + [PresetInfo(name, False) for name in own]

    def has(self, name: str) -> bool:
        """Whether a preset of that name is there."""
        try:
            return self._path(name).is_file()
        except (BadRequest, NotFound):
            return False

    def load(self, name: str) -> dict[str, ParamValue]:
        """The checked values of a preset; what it leaves out is neutral. Raises NotFound, BadRequest, StorageError."""
        return dict(self.read(name).values)

    def read(self, name: str) -> Preset:
        """A preset with what was wrong with it. Raises NotFound, BadRequest for a bad name, StorageError."""
        path = self._path(name)
        raw, wrong = read_mapping(path)
        if raw is None:
            raise StorageError(" ".join(wrong) or f"The preset {name} was just removed.", code="preset_unreadable")
        values, unknown, problems = _checked(raw)
        named = tuple(f"Preset {name}: {one}" for one in problems)
        return Preset(name, values, unknown, (*wrong, *named))

    def save(self, name: str, values: Mapping[str, Any]) -> None:
        """Write the values that differ from neutral; keys of an existing file that we do not know stay in it.

        Raises: BadRequest for a bad or shipped name, BadParameter for a bad value, StorageError.
        """
        path = _inside(self._own, f"{name}.yaml")
        existing = {info.name.casefold(): info for info in self.names()}.get(name.casefold())
        if existing is not None and existing.shipped:
            raise _shipped(existing.name)
        unknown: Mapping[str, Any] = {}
        if existing is not None:
            path = self._path(existing.name)
            if path.suffix == ".json":
                raise BadRequest(f"The preset {existing.name} is a file of another program and stays as it is.",
                                 hint="Save your values under another name.", code="preset_foreign")  # fmt: skip
            unknown = self.read(existing.name).unknown
        checked = without_neutral(check_values(values))
        kept = {key: _as_written(key, value) for key, value in checked.items() if BY_NAME[key].in_presets}
        make_folder(self._own)
        write_yaml(path, {**kept, **unknown})

    def delete(self, name: str) -> None:
        """Delete a preset of the person's own. Raises NotFound, BadRequest for a shipped one, StorageError."""
        path = self._path(name)
        if not path.is_relative_to(self._own.resolve()):
            raise _shipped(name)
        remove_durably(path)
        copy = path.parent / LAST_GOOD / path.name
        if copy.exists():
            remove_durably(copy)

    def _path(self, name: str) -> Path:
        """The file of a preset, the person's own first. Raises NotFound with near names, BadRequest."""
        for folder in (self._own, self._shipped):
            for ending in _ENDINGS:
                path = _inside(folder, name + ending)
                if path.is_file():
                    return path
        names = [info.name for info in self.names()]
        near = difflib.get_close_matches(name, names, n=2, cutoff=0.4) or names[:8]
        raise NotFound(
            f"There is no preset called {name[:80]!r}.",
            hint=("There are: " + ", ".join(near) + ".") if near else "There are none yet.",
            code="preset_not_found",
            param="preset",
        )


def _inside(folder: Path, name: str) -> Path:
    """A file right in the folder, where the list finds it. Raises BadRequest, NotFound."""
    if "/" in name:
        raise BadRequest("The name of a preset has no / in it.", hint="Pick another name.", code="invalid_name")
    return inside(folder, name)


def _names_in(folder: Path) -> list[str]:
    """Names of the presets in a folder that can be asked for, sorted as people expect."""
    found = set()
    for path in folder.glob("*"):
        try:
            if path.suffix in _ENDINGS and inside(folder, path.name).is_file():
                found.add(path.stem)
        except (BadRequest, NotFound):  # a name no client could send, or a link out of the folder
            continue
    return sorted(found, key=lambda name: (name.casefold(), name))


def _checked(raw: Mapping[Any, Any]) -> tuple[dict[str, ParamValue], dict[str, Any], list[str]]:
    """A file's values, the keys we do not know, and what was wrong. A wrong value is left out, not the whole file."""
    right: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    problems: list[str] = []
    for key, value in raw.items():
        name = str(key)
        if name not in CANONICAL:
            unknown[name] = value
            continue
        try:
            check_values({name: value})
            right[name] = value  # as it came: a switch needs the others beside it
        except BadParameter as error:
            problems.append(f"{error.message} It is left at neutral.")
    if unknown:
        names = ", ".join(unknown)
        problems.append(f"keys that this version does not know are kept in the file and not used: {names}.")
    values, notices = read_values(right)
    return values, unknown, [*problems, *(notice.message for notice in notices)]


def _as_written(name: str, value: ParamValue) -> Any:
    """A value as text-generation-webui writes it too."""
    if name == "sampler_priority" and isinstance(value, list):
        return "\n".join(str(one) for one in value)
    if name == "dry_sequence_breakers" and isinstance(value, list):
        return ", ".join(json.dumps(one, ensure_ascii=False) for one in value)
    if name == "mirostat_mode":
        return int(str(value))
    return value


def _shipped(name: str) -> BadRequest:
    return BadRequest(
        f"The preset {name} came with the program and stays as it is.",
        hint="Save your values under another name.",
        code="preset_shipped",
    )
