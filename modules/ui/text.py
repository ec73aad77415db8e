"""t(): the texts of the web page, from the catalogue modules/ui/texts/en.json.

The catalogue is i18next's JSON, flat: `{{name}}` stands for a value; a text that depends on a number has the keys
`key_one` and `key_other`, between which `count` chooses. The browser gets the same catalogue with the page
(web/core/texts.js). docs/translation.md says how to translate it.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parent / "texts"
_VALUE = re.compile(r"\{\{(\w+)\}\}")


@functools.cache
def catalogue() -> Mapping[str, str]:
    """Every text by its key."""
    texts: dict[str, str] = json.loads((FOLDER / "en.json").read_text("utf-8"))
    return texts


def t(key: str, **values: object) -> str:
    """The text of a key, filled in; whole numbers are written with separators. Raises KeyError for an unknown key or
    a value that is missing."""
    texts = catalogue()
    if "count" in values and key not in texts:
        key += "_one" if values["count"] == 1 else "_other"
    return _VALUE.sub(lambda found: _written(values[found[1]]), texts[key])


def label(key: str, default: str) -> str:
    """A text that a table of the program has in English (sampling/params.py, settings/store.py, the loaders' settings):
    the catalogue's, where it has one."""
    return catalogue().get(key, default)


def _written(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
