"""Adapters for one reply: {"name": scale} or [{"name": …, "scale": …}]."""

from __future__ import annotations

from collections.abc import Mapping

from modules.dialects.body import Body, wrong

FORM = 'an object {"name": scale} or a list of {"name": …, "scale": …}'
MOST = 64


def read_lora(body: Body) -> Mapping[str, float] | None:
    """Scale by name; None when the request leaves them as they are. Raises BadParameter."""
    value = body.take("lora")
    if value is None:
        return None
    if isinstance(value, (dict, list)) and len(value) > MOST:
        raise wrong("lora", f"{len(value)} adapters", f"at most {MOST}")
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list) and all(isinstance(one, dict) for one in value):
        pairs = [(one.get("name"), one.get("scale", 1.0)) for one in value]
    else:
        raise wrong("lora", value, FORM)
    found: dict[str, float] = {}
    for name, scale in pairs:
        if not isinstance(name, str) or not name:
            raise wrong("lora", value, FORM)
        if isinstance(scale, bool) or not isinstance(scale, (int, float)):
            raise wrong(f"lora.{name[:80]}", scale, "a number")
        if name in found:
            raise wrong("lora", name, "there once only")
        found[name] = float(scale)
    return found
