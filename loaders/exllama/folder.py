"""What a model's folder says of chats and tokens. Both libraries leave these to whoever uses them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules.errors import LoadFailed


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """template: the chat template, "" when there is none; adds_bos: whether a prompt begins with the `bos` token;
    trained: tokens of context it was made for, None when not said; architecture: its class's name; bits: of its
    weights; ends: the tokens that end a reply, as its settings name them."""

    template: str
    bos: str
    eos: str
    adds_bos: bool
    trained: int | None
    architecture: str
    bits: float | None
    ends: tuple[int, ...] = ()


def read_folder(path: Path) -> ModelFolder:
    """Raises LoadFailed when this is no folder of a Hugging Face model."""
    if not (path / "config.json").is_file():
        raise LoadFailed(f"{path.name} has no config.json.", hint="Point at the folder of the model, not at a file.")
    tokens, config = _json(path / "tokenizer_config.json"), _json(path / "config.json")
    text = config.get("text_config")
    inner: Mapping[str, Any] = text if isinstance(text, dict) else {}
    trained = config.get("max_position_embeddings", inner.get("max_position_embeddings"))
    quantised = config.get("quantization_config")
    bits = quantised.get("bits") if isinstance(quantised, dict) else None
    bos = _written(tokens.get("bos_token"))
    classes = config.get("architectures")
    return ModelFolder(
        template=_template(path, tokens),
        bos=bos,
        eos=_written(tokens.get("eos_token")),
        adds_bos=_adds_bos(path, tokens, bos),
        trained=trained if isinstance(trained, int) else None,
        architecture=str(classes[0]) if isinstance(classes, list) and classes else "",
        bits=float(bits) if isinstance(bits, (int, float)) else None,
        ends=_ends(_json(path / "generation_config.json"), config, inner),
    )


def _ends(*found: Mapping[str, Any]) -> tuple[int, ...]:
    """All of them, each once: a model's files often do not agree, and each end is one."""
    ends: list[int] = []
    for one in found:
        value = one.get("eos_token_id")
        ends += [token for token in (value if isinstance(value, list) else [value]) if isinstance(token, int)]
    return tuple(dict.fromkeys(ends))


def _template(path: Path, tokens: Mapping[str, Any]) -> str:
    """Newer folders have a file of its own; `chat_template` may be a list of named ones."""
    file = path / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = _json(path / "chat_template.json").get("chat_template") or tokens.get("chat_template") or ""
    if isinstance(found, list):
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        found = named.get("default") or next(iter(named.values()), "")
    return str(found)


def _adds_bos(path: Path, tokens: Mapping[str, Any], bos: str) -> bool:
    """As the setting says; without one, as the tokenizer's own rule for a single text does."""
    if not bos:
        return False
    said = tokens.get("add_bos_token")
    if isinstance(said, bool):
        return said
    rule = _json(path / "tokenizer.json").get("post_processor")
    return isinstance(rule, dict) and _begins_with(rule, bos)


def _begins_with(rule: Mapping[str, Any], bos: str) -> bool:
    if rule.get("type") == "Sequence":
        return any(_begins_with(part, bos) for part in rule.get("processors", ()))
    single = rule.get("single") if rule.get("type") == "TemplateProcessing" else None
    first = single[0] if isinstance(single, list) and single else {}
    return isinstance(first, dict) and first.get("SpecialToken", {}).get("id") == bos


def _written(token: Any) -> str:
    """A token as text, or as an object that holds it."""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LoadFailed(f"{path.name} in {path.parent.name} cannot be read: {error}") from error
    return value if isinstance(value, dict) else {}
