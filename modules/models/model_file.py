"""One entry of the model list: a model on disk, one built into a loader, or a file that goes with a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modules.formats.facts import ModelFacts


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One model on disk, or one built into a loader; or something that goes with a model (see `kind`).

    path            the file to open (the first part of a split one), or the folder; a built-in model's name
    size            bytes of all parts
    context_length  tokens it was trained for
    parameters      weights of all parts
    chat_template   whether it brings one
    runnable        whether a loader that is installed opens it; if not, `reason` says why to people
    reason_code     the same for programs: a modules.formats.problems.Reason, "" when it is runnable
    loaders         names of the loaders that open it, best first
    kind            what it is; see ModelFacts.kind. "adapter", "mmproj" and "control-vector" are named in a model's
                    settings and never loaded by themselves
    capabilities    what can be done with it, known before it is loaded; see ModelFacts. "images" also where the image
                    part lies beside it
    languages       as its makers state them, ISO 639 codes
    installs        loader name → the command that installs it, for those of `loaders` that are not installed
    facts           everything known of it
    """

    name: str
    path: Path
    size: int
    format: str
    arch: str
    quant: str
    context_length: int | None
    parameters: int | None
    layers: int | None
    chat_template: bool
    runnable: bool
    reason: str
    loaders: tuple[str, ...]
    builtin: bool = False
    reason_code: str = ""
    kind: str = "model"
    capabilities: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    installs: Mapping[str, str] = field(default_factory=dict)
    facts: ModelFacts = field(default_factory=lambda: ModelFacts("unknown"))
