"""Writes the pages of docs/ that are made from the tables: python -m modules.doc_tables

A test compares them with what the tables give now, so they cannot grow old.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from loaders import Registry
from loaders.base import Feature, LoaderSpec, LoadParam
from modules.sampling.params import PARAMS, SWITCHES, Param
from modules.sampling.presets import Presets
from modules.settings.store import SETTINGS, Setting

_HARDWARE = {"cpu": "a processor", "cuda": "an NVIDIA GPU", "rocm": "an AMD GPU", "metal": "a Mac with Apple silicon"}
ROOT = Path(__file__).resolve().parent.parent
_MADE = "<!-- Made by python -m modules.doc_tables; change the tables in the code, not this page. -->\n"


def parameters() -> str:
    """docs/parameters.md, from PARAMS and the loaders."""
    specs = [spec for spec in Registry().specs if spec.samplers]
    out = [_MADE, _PARAMETERS]
    for group, rows in groupby(PARAMS, key=lambda param: param.group):
        out.append(f"\n## {group}\n\n")
        out.append(
            _table(["name", "what it does", "neutral", "range", "honoured by"], [_param(row, specs) for row in rows])
        )
    aliases = [[_code(row.name), ", ".join(_code(one) for one in row.aliases)] for row in PARAMS if row.aliases]
    out += [
        "\n## Other names\n\nUnderstood in presets and in API requests.\n\n",
        _table(["name", "also"], aliases),
        "\n",
    ]
    off = [[_code(row.name), ", ".join(_code(f"{one:g}") for one in row.off)] for row in PARAMS if row.off]
    out += [_NOTATIONS, _table(["name", "also off"], off), "\n"]
    out.append(_table(["switch", "what it becomes"], [[_code(name), text] for name, text in SWITCHES.items()]))
    out += ["\n## Presets\n\n", _PRESETS, _table(["preset", "values"], _presets())]
    return "".join(out)


def settings() -> str:
    """docs/settings.md, from SETTINGS."""
    out = [_MADE, _SETTINGS]
    for group, rows in groupby(SETTINGS, key=lambda setting: setting.group):
        out.append(f"\n## {group}\n\n")
        out.append(
            _table(
                ["name", "flag", "what it does", "value", "default", "takes effect"], [_setting(row) for row in rows]
            )
        )
    aliases = "; ".join(f"{' and '.join(row.aliases)} for {row.flag}" for row in SETTINGS if row.aliases)
    out.append(f"\nFlags of other programs that are understood too: {aliases}.\n")
    return "".join(out)


def loaders() -> str:
    """docs/loaders.md, from the loaders' specs."""
    registry = Registry()
    out = [_MADE, _LOADERS, _glance([spec for spec in registry.specs if not spec.builtin_models])]
    for spec in registry.specs:
        out.append(f"\n## {spec.name}\n\n{_about(spec)}\n")
        for group, rows in groupby(spec.params, key=lambda param: param.group):
            head = [
                f"setting: {group.lower()}" if group != "General" else "setting",
                "what it does",
                "value",
                "default",
            ]
            out.append("\n" + _table(head, [_load_param(row) for row in rows]))
    return "".join(out)


def _glance(specs: Sequence[LoaderSpec]) -> str:
    """Loader × feature. The test run prints the same with what was shown on a real model."""
    rows = [
        [feature.value, *("yes" if feature in spec.features else "–" for spec in specs)]
        for feature in sorted(Feature, key=lambda one: one.value)
    ]
    counts = ["sampling parameters", *(f"{len(spec.samplers)} of {len(PARAMS)}" for spec in specs)]
    return "\n" + _table(["", *(spec.name for spec in specs)], [*rows, counts])


TABLES: Mapping[str, Callable[[], str]] = {
    "loaders.md": loaders,
    "parameters.md": parameters,
    "settings.md": settings,
}


def _param(row: Param, specs: Sequence[LoaderSpec]) -> list[str]:
    what = row.help if row.start is None else f"{row.help} A new installation starts with {_code(row.start)}."
    honoured = ", ".join(spec.name for spec in specs if row.name in spec.samplers)
    return [_code(row.name), f"**{row.label}.** {what}", _code(row.default), _range(row), honoured or "none yet"]


def _range(row: Param) -> str:
    if row.kind == "choice":
        return ", ".join(row.choices)
    if row.low is None or row.high is None:
        return {"bool": "true or false", "list": "list of texts", "map": "object", "text": "text"}.get(
            row.kind, row.kind
        )
    kind = " (whole)" if row.kind == "int" else ""
    return f"{_number(row.low)} … {_number(row.high)}{kind}"


def _presets() -> list[list[str]]:
    found = Presets(ROOT / "presets", ROOT / "presets" / "none")
    rows = []
    for info in found.names():
        values = found.load(info.name)
        text = ", ".join(f"{name} {json.dumps(value, ensure_ascii=False)}" for name, value in values.items())
        about = (ROOT / "presets" / f"{info.name}.yaml").read_text("utf-8").splitlines()[0].removeprefix("# ")
        rows.append([f"**{info.name}.** {about}", text or "none: everything is neutral"])
    return rows


def _setting(row: Setting) -> list[str]:
    flag = row.flag.replace("--", "--no-", 1) if row.default is True else row.flag
    default = (
        "" if row.default in ("", ()) else _code(list(row.default) if isinstance(row.default, tuple) else row.default)
    )
    when = "at the next start" if row.restart_needed else "at once"
    return [
        _code(row.name),
        _code(flag),
        row.help,
        row.wanted,
        default or "empty",
        when if row.in_file else "at the start",
    ]


def _about(spec: LoaderSpec) -> str:
    formats = ", ".join(spec.formats)
    features = ", ".join(sorted(feature.value for feature in spec.features)) or "plain text"
    install = f"`{spec.install}`, see [remote.md](remote.md)"
    if not spec.install:
        by_us = spec.requirements != "base"
        install = f"`python3 start.py install {spec.requirements}`" if by_us else "comes with the program"
    lines = [f"{spec.title}.", "", f"* Opens: {formats}", f"* Can: {features}", f"* Install: {install}"]
    if spec.hardware:
        lines.append(f"* Needs: {' or '.join(_HARDWARE.get(kind, kind) for kind in spec.hardware)}")
    if spec.builtin_models:
        lines.append(f"* Built-in models: {', '.join(spec.builtin_models)}")
    missing = [row.name for row in PARAMS if row.name not in spec.samplers]
    lines.append(f"* Sampling: {len(spec.samplers)} of {len(PARAMS)} parameters of [parameters.md](parameters.md)")
    if missing and len(missing) < len(PARAMS) // 2:
        lines.append(f"* Does not have: {', '.join(missing)}")
    return "\n".join(lines)


def _load_param(row: LoadParam) -> list[str]:
    if row.choices:
        value = ", ".join(choice or "empty" for choice in row.choices)
    elif row.low is not None and row.high is not None:
        value = f"{_number(row.low)} … {_number(row.high)}"
    else:
        value = {"bool": "true or false", "files": f"names of the models folder: {row.files}"}.get(row.kind, row.kind)
    return [
        _code(row.name),
        f"**{row.label}.** {row.help}",
        value,
        _code(row.default) if row.default != "" else "empty",
    ]


def _number(value: float) -> str:
    """Every digit of a whole number; a fraction as it was written."""
    return str(int(value)) if value == int(value) else repr(value)


def _code(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"`{text}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


_NOTATIONS = """
Values are read in other programs' notations too: a number as a string (`"0.7"`), true and false as `1`, `0`, `"true"`,
`"false"`, a list as a JSON array in a string (`'["\\n", ":"]'`) or as quoted items with commas between, `logit_bias` as
llama.cpp's list of pairs. `null` and `""` mean the neutral value. Where a parameter comes under two names, its own name
counts. What cannot be read is refused with what it has to be. These numbers mean off as well:

"""
_PARAMETERS = """\
# Sampling parameters

Every parameter has a neutral value that changes nothing. What a preset or an API request leaves out is neutral; the
chat uses the values of the Parameters tab. A value that the loaded model's loader does not honour is kept, and the
reply says so in a notice.

Names are those text-generation-webui uses, so presets can be brought along. The same names work as further fields of
the OpenAI API's requests. Where a method allows it, numbers beyond the range of the control are accepted too.

Adding a parameter is adding one row to `modules/sampling/params.py`.
"""

_PRESETS = """\
A preset is a YAML file in `user_data/presets` with the values that differ from neutral. Files of
text-generation-webui are read as they are, and what is saved here can be read there. Loading a preset makes every
other parameter neutral, but for those that belong to you and not to a style: `max_tokens`, `seed`, `ban_eos_token` and
`logit_bias` change only when the file names them. A key this version does not know stays in the file, is not used, and
is reported. A file of your own hides a shipped preset of the same name; those that came with the program are never
changed.

The usual order of the samplers is llama.cpp's, with the temperature last. A preset that wants another says so in
`sampler_priority`.

"""

_SETTINGS = """\
# Settings

A value is taken from the first of: the command line, an environment variable, `settings.yaml` in the user-data
folder, the default. The environment variable of a setting is its name in capitals after ENGINEHOUSE_, for example
ENGINEHOUSE_PORT=8000. What the command line or the environment says is never written to the file.

`settings.yaml` is written at the first start with every setting explained; take the # in front of one away to change
it. The Settings tab writes the same file and keeps your comments, your order, and keys it does not know. A file that
cannot be read is put aside as settings.yaml.corrupt-(time) and the last good copy is used; you are told. A new file is
readable for its owner only, because it may hold the key.

Whoever lets other computers in (with `--listen`, or with an address of the network) and sets no key gets one made for
that run, which is printed at the start.
"""

_LOADERS = """\
# Loaders

A loader is one file in `loaders/` with a `SPEC` on top: the formats it opens, its settings, the sampling parameters it
honours, what else it can do. The Model tab, the load API (`settings` of POST /api/models/load) and this page are made
from it. Without a choice of yours the first installed loader for the file's format is taken, and the reason is shown.
A default of 0 or nothing usually means that the engine decides.
"""


def main() -> int:
    """Write the pages, and say which changed."""
    for name, make in TABLES.items():
        path, text = ROOT / "docs" / name, make()
        changed = not path.exists() or path.read_text("utf-8") != text
        path.write_text(text, "utf-8")
        print(f"docs/{name}: {'written' if changed else 'current'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
