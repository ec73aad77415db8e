"""YAML that reads back as what was written."""

from __future__ import annotations

from typing import Any

import yaml


def yaml_text(value: Any, **how: Any) -> str:
    """YAML in the order given that reads back as `value`; `how` goes to the dumper.

    Letters stay as they are, unless one is a line end to YAML (U+0085 and its like): escaped they survive.
    """
    text = str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, **how))
    return text if yaml.safe_load(text) == value else str(yaml.safe_dump(value, sort_keys=False, **how))
