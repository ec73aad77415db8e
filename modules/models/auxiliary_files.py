"""Files that go with a model - adapters, image parts, control vectors, draft models: named in a setting, found here.

A name is looked up in the catalogue, as every model's name is, and never made into a path.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loaders.base import LoaderSpec, LoadParam, NamedFile
from modules.errors import BadParameter, NotFound
from modules.formats.problems import GOES_WITH_A_MODEL, Reason
from modules.models.catalog import Catalog, near_names
from modules.models.catalog_fit import beside, mismatch
from modules.models.model_file import ModelFile
from modules.types import Decision

NONE = "none"
"""Written in a setting: nothing, also not what would be chosen by itself."""
MOST = 32
MOST_TEXT = 10_000
MOST_SCALE = 100.0
_WORDS = {"adapter": "a LoRA adapter", "mmproj": "an image part (mmproj)", "control-vector": "a control vector",
          "model": "a model"}  # fmt: skip
_SEVERAL = frozenset({"adapter", "control-vector"})
_SCALED = re.compile(r"(?P<name>.+?)\s*=\s*(?P<scale>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,2})?)")
_VOCABULARY_SLACK = 128  # what llama.cpp allows between a model and its draft model


@dataclass(frozen=True, slots=True)
class Companions:
    """The files by setting, for LoadRequest.files, and a sentence for each that was chosen by itself."""

    files: Mapping[str, tuple[NamedFile, ...]] = field(default_factory=dict)
    why: tuple[str, ...] = ()


def resolve(
    catalog: Catalog, spec: LoaderSpec, settings: Mapping[str, Any], model: ModelFile | None = None
) -> Companions:
    """The files that `settings` (complete) name, found and checked, for each setting of kind "files".

    `model` is what they are to go with: what was made for another is refused, and an image part beside it is chosen
    where its setting is empty. Raises: BadParameter with near names, or with what is wrong with the file.
    """
    files: dict[str, tuple[NamedFile, ...]] = {}
    why: list[str] = []
    for param in spec.params:
        if param.kind != "files":
            continue
        text = str(settings.get(param.name, param.default)).strip()
        if not text and param.files == "mmproj" and model is not None and (chosen := beside_it(catalog, model)):
            files[param.name] = (_named(chosen.value, 1.0),)
            why.append(chosen.why)
            continue
        files[param.name] = _files(catalog, spec, param, text, model)
    return Companions(files, tuple(why))


def beside_it(catalog: Catalog, model: ModelFile) -> Decision[ModelFile] | None:
    """The image part that lies beside a model and was made for it; None where there is none."""
    scanned = {one.name: one for one in catalog.scan()}
    near = beside(scanned.values(), model, catalog.models_dir)
    if not near:
        return None
    part = scanned[near[0].name]
    takes = " and ".join(part.facts.capabilities) or "images"
    return Decision(part, f"{part.name} lies beside it and was made for it, so it takes {takes} (none = without).")


def offered(catalog: Catalog, kind: str, model: ModelFile, spec: LoaderSpec | None = None) -> tuple[ModelFile, ...]:
    """What can be named in a setting of that kind for `model`: what lies beside it first, then by name."""
    found = list(catalog.scan())
    if kind == "model":
        return tuple(one for one in found if _drafts(one, model))
    fitting = [
        one
        for one in found
        if one.kind == kind and not _problem(one, catalog.allow_pickle) and not mismatch(one.facts, model.facts)
        and (spec is None or one.facts.format in (_format(spec, kind), "pickle"))
    ]  # fmt: skip
    near = {one.name for one in beside(fitting, model, catalog.models_dir)}
    return tuple(sorted(fitting, key=lambda one: (one.name not in near, one.name.casefold())))


def _drafts(one: ModelFile, model: ModelFile) -> bool:
    """Whether `one` can guess ahead for `model`: smaller, of the same format, with the same vocabulary."""
    if not one.runnable or one.builtin or one.kind != "model" or one.name == model.name or one.format != model.format:
        return False
    return _same_vocabulary(one, model) and one.size < model.size


def _same_vocabulary(one: ModelFile, model: ModelFile) -> bool:
    """Whether the token numbers of both can mean the same, as far as their files tell (llama.cpp, speculative.cpp)."""
    words, others = model.facts.vocabulary, one.facts.vocabulary
    if words is not None and others is not None and abs(words - others) > _VOCABULARY_SLACK:
        return False
    kinds = model.facts.extra.get("tokenizer"), one.facts.extra.get("tokenizer")
    return None in kinds or kinds[0] == kinds[1]


def _files(
    catalog: Catalog, spec: LoaderSpec, param: LoadParam, text: str, model: ModelFile | None
) -> tuple[NamedFile, ...]:
    """The files one setting names."""
    if not text or text.casefold() == NONE:
        return ()
    if len(text) > MOST_TEXT:
        raise BadParameter(f"{param.name} is too long.", param=param.name)
    pieces = [text] if _known(catalog, text) else [one.strip() for one in re.split(r"[,\n]", text) if one.strip()]
    if len(pieces) > MOST or (len(pieces) > 1 and param.files not in _SEVERAL):
        most = MOST if param.files in _SEVERAL else 1
        raise BadParameter(f"{param.name} names {len(pieces)} files, but it takes {most}.", param=param.name)
    found: dict[str, NamedFile] = {}
    for piece in pieces:
        file, scale = _one(catalog, param, piece, model)
        _check(file, spec, param, model, catalog.allow_pickle)
        if file.name in found:
            raise BadParameter(f"{param.name} names {file.name} twice.", param=param.name)
        found[file.name] = _named(file, scale)
    return tuple(found.values())


def _named(file: ModelFile, scale: float) -> NamedFile:
    return NamedFile(file.name, str(file.path), scale)


def _known(catalog: Catalog, name: str) -> ModelFile | None:
    try:
        return catalog.get(name)
    except NotFound:
        return None


def _one(catalog: Catalog, param: LoadParam, piece: str, model: ModelFile | None) -> tuple[ModelFile, float]:
    """The file of `name` or `name=strength`. A name that has a = in it is tried first."""
    if file := _known(catalog, piece):
        return file, 1.0
    match = _SCALED.fullmatch(piece)
    name = match["name"] if match else piece
    scale = float(match["scale"]) if match else 1.0
    file = _known(catalog, name)
    if file is None:
        raise _not_found(catalog, param, name, model)
    if match and param.files not in _SEVERAL:
        raise BadParameter(f"{param.name} takes a name without a strength.", param=param.name)
    if not math.isfinite(scale) or abs(scale) > MOST_SCALE:
        raise BadParameter(
            f"The strength of {file.name} in {param.name} has to be from -{MOST_SCALE:g} to {MOST_SCALE:g}.",
            param=param.name,
        )
    return file, scale


def _not_found(catalog: Catalog, param: LoadParam, name: str, model: ModelFile | None) -> BadParameter:
    shown = name if len(name) <= 80 else name[:77] + "..."
    there = [one.name for one in catalog.scan() if one.kind == param.files and not one.builtin]
    if model is not None:
        there = [one.name for one in offered(catalog, param.files, model)] or there
    near = near_names(name, there)
    what = _WORDS.get(param.files, "a file")
    if not near:
        near = f"There are: {', '.join(there[:5])}." if there else f"There is none; put {what} into the models folder."
    if re.search(r"^[/~\\]|^[A-Za-z]:|(?:^|[/\\])\.\.(?:[/\\]|$)|\\", name):
        return BadParameter(f"{param.name} takes names as the model list shows them, not paths.", hint=near,
                            param=param.name)  # fmt: skip
    return BadParameter(f"There is nothing called {shown!r} in the models folder for {param.name}.", hint=near,
                        param=param.name)  # fmt: skip


def _format(spec: LoaderSpec, kind: str) -> str:
    """The format a loader takes companions in: engines for safetensors models take PEFT's adapters."""
    return "safetensors" if kind == "adapter" and "gguf" not in spec.formats[:1] else "gguf"


def _problem(file: ModelFile, allow_pickle: bool) -> str:
    """Why a companion cannot be used at all; "" when it can."""
    code = None if file.facts.problem is None else file.facts.problem.code
    is_sound = code is GOES_WITH_A_MODEL.get(file.kind)
    return "" if is_sound or (allow_pickle and code is Reason.PICKLE) else file.reason


def _check(
    file: ModelFile, spec: LoaderSpec, param: LoadParam, model: ModelFile | None, allow_pickle: bool
) -> None:  # fmt: skip
    """Raises BadParameter when the file is of another kind, damaged, in another format, or for another model."""
    kind, name = param.files, file.name
    if file.kind != kind:
        raise BadParameter(f"{name} is not {_WORDS.get(kind, kind)}. {file.reason}".strip(), param=param.name)
    if kind == "model":
        if not file.runnable or file.format not in spec.formats:
            why = file.reason or f"the loader {spec.name} does not open it"
            raise BadParameter(f"{name} cannot be used in {param.name}: {why}", param=param.name)
        if model is not None and not _same_vocabulary(file, model):
            raise BadParameter(
                f"{name} has another vocabulary than {model.name}, so it cannot draft for it.",
                hint="Take a smaller model of the same family.", param=param.name,
            )  # fmt: skip
        return
    if problem := _problem(file, allow_pickle):
        raise BadParameter(f"{name} cannot be used in {param.name}: {problem}", param=param.name)
    if file.facts.format not in (_format(spec, kind), "pickle"):
        to = ("convert_lora_to_gguf.py of llama.cpp makes a GGUF adapter of it." if file.facts.format != "gguf"
              else "Get it in the folder that PEFT saved.")  # fmt: skip
        raise BadParameter(f"{name} is not in a format that the loader {spec.name} takes.", hint=to, param=param.name)
    if model is not None and (why := mismatch(file.facts, model.facts)):
        raise BadParameter(f"{name} {why}.", hint=f"It does not go with {model.name}.", param=param.name)
