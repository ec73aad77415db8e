"""The catalogue: every model on disk, what it is, and why one cannot run.

A model's name is its path below the models folder, "/" between, without the ending. Names are what
clients send; the catalogue looks them up among what it found, so a name is never made into a path.
"""

from __future__ import annotations

import difflib
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from loaders import Registry, installed
from loaders.base import LoaderSpec
from modules.errors import NotFound, Unsupported
from modules.formats.gguf import GgufError, GgufHeader, megabytes, read_header
from modules.formats.gguf_tables import EMBEDDING_ARCHITECTURES, IMAGE_ARCHITECTURES
from modules.models.catalog_walk import Found, printable, walk
from modules.types import Chosen

Stamp = tuple[str, int, int]
_KINDS = {
    "mmproj": "This is the image or sound part that goes with another model, not a model by itself.",
    "adapter": "This is a LoRA adapter, which goes on top of another model.",
    "imatrix": "This is an importance matrix, a tool for quantising; it holds no model.",
}


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One model on disk, or one built into a loader.

    path            the file to open (the first part of a split one), or the folder; a built-in model's name
    size            bytes of all parts
    context_length  tokens it was trained for
    parameters      weights of all parts
    chat_template   whether it brings one
    runnable        whether a loader that is installed opens it; if not, `reason` says why
    loaders         names of the loaders for its format, best first
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


class Catalog:
    """The models of one models folder. Thread-safe; calls read the disk and belong in a thread."""

    def __init__(self, models_dir: Path, registry: Registry) -> None:
        self.models_dir = models_dir
        self._registry = registry
        self._lock = threading.Lock()
        self._headers: dict[Stamp, GgufHeader | GgufError] = {}
        self._entries: dict[tuple[Stamp, ...], ModelFile] = {}
        self._stamps: dict[str, tuple[Stamp, ...]] = {}
        self._files: tuple[ModelFile, ...] = ()
        self._aliases: dict[str, ModelFile] = {}

    def scan(self) -> tuple[ModelFile, ...]:
        """Every model there is now, by name, the built-in ones last. Headers are read again only after a change."""
        with self._lock:
            return self._scan()

    def get(self, name: str) -> ModelFile:
        """The model of that name; its file name with the ending is understood too.

        Raises: NotFound (code "model_not_found") with near names as the hint.
        """
        with self._lock:
            known = self._aliases.get(name)
            if known is not None and self._unchanged(known):
                return known
            self._scan()
            if name in self._aliases:
                return self._aliases[name]
            raise self._unknown(name)

    def header(self, name: str) -> GgufHeader | None:
        """The GGUF header of that model, None when it is of another format. Raises NotFound, GgufError."""
        model = self.get(name)
        return read_header(model.path) if model.format == "gguf" else None

    def pick_loader(self, model: ModelFile) -> Chosen[LoaderSpec]:
        """The loader to open `model` with, and why. Raises Unsupported when there is none."""
        if model.builtin:
            spec = self._registry.get(model.loaders[0])
            return Chosen(spec, f"{model.name} is built into the loader {spec.name}.")
        check_runnable(model)
        specs = [self._registry.get(name) for name in model.loaders]
        ready = [spec for spec in specs if installed(spec)]
        chosen, fmt = ready[0], _FORMATS.get(model.format, model.format)
        if len(ready) == 1:
            missing = ", ".join(spec.name for spec in specs if spec is not chosen)
            more = f" ({missing}: not installed)" if missing else ""
            return Chosen(chosen, f"{chosen.name} is the only loader here that opens {fmt} files{more}.")
        others = ", ".join(spec.name for spec in ready[1:])
        return Chosen(chosen, f"{chosen.name} comes first for {fmt} files; {others} could open it too.")

    # ── inside the lock ─────────────────────────────────────────────────────────────────────────────

    def _scan(self) -> tuple[ModelFile, ...]:
        used: dict[tuple[Stamp, ...], ModelFile] = {}
        stamps: dict[str, tuple[Stamp, ...]] = {}
        aliases: dict[str, ModelFile] = {}
        files: list[ModelFile] = []
        for found in walk(self.models_dir):
            marks = tuple(_stamp(path) for path in found.parts)
            model = self._entries.get(marks) if not found.unfinished else None
            if model is None or model.path != found.path:
                model = self._described(found, marks)
            if model.runnable:  # a reason not to run (no loader installed, a download) may go away by itself
                used[marks] = model
            model = replace(model, name=_free(found, stamps))
            stamps[model.name] = marks
            files.append(model)
            aliases[found.path.relative_to(self.models_dir).as_posix()] = model
            aliases[found.path.relative_to(self.models_dir).as_posix().removesuffix(".gguf")] = model
        files.sort(key=lambda one: one.name.casefold())
        for model in self._builtin(stamps):
            files.append(model)
        aliases.update({model.name: model for model in files})
        alive = {stamp for marks in stamps.values() for stamp in marks}
        self._headers = {stamp: header for stamp, header in self._headers.items() if stamp in alive}
        self._entries, self._stamps, self._aliases, self._files = used, stamps, aliases, tuple(files)
        return self._files

    def _unchanged(self, model: ModelFile) -> bool:
        marks = self._stamps.get(model.name, ())
        return model.builtin or (model.runnable and all(_stamp(Path(mark[0])) == mark for mark in marks))

    def _builtin(self, taken: dict[str, tuple[Stamp, ...]]) -> list[ModelFile]:
        return [
            ModelFile(
                name=name, path=Path(name), size=0, format=spec.formats[0] if spec.formats else spec.name, arch="",
                quant="", context_length=None, parameters=None, layers=None, chat_template=True, runnable=True,
                reason="", loaders=(spec.name,), builtin=True,
            )
            for spec in self._registry.specs
            for name in spec.builtin_models
            if name not in taken
        ]  # fmt: skip

    def _described(self, found: Found, marks: tuple[Stamp, ...]) -> ModelFile:
        specs = self._registry.for_format(found.format)
        model = ModelFile(
            name=found.name, path=found.path, size=sum(mark[1] for mark in marks), format=found.format, arch="",
            quant="", context_length=None, parameters=None, layers=None, chat_template=False, runnable=True,
            reason="", loaders=tuple(spec.name for spec in specs),
        )  # fmt: skip
        problem = ""
        if found.format == "gguf":
            model, problem = self._with_header(model, found, marks)
        problem = problem or _no_loader(found.format, specs)
        return replace(model, runnable=not problem, reason=problem)

    def _with_header(self, model: ModelFile, found: Found, marks: tuple[Stamp, ...]) -> tuple[ModelFile, str]:
        """What the header says, and why the model cannot run, "" when it can."""
        if found.unfinished:
            return model, "It is still being downloaded."
        headers: list[GgufHeader] = []
        for path, mark in zip(found.parts, marks, strict=True):
            header = self._header(path, mark)
            if isinstance(header, GgufError):
                part = f"Part {printable(path.name)}: " if len(found.parts) > 1 else ""
                return model, f"{part}{header.message} {header.hint}".strip()
            headers.append(header)
        first = headers[0]
        weights = [header.parameters for header in headers if header.parameters]
        model = replace(
            model, arch=first.architecture, quant=first.quant, context_length=first.context_length,
            parameters=sum(weights) if weights and not found.missing else None, layers=first.block_count,
            chat_template=bool(first.chat_template),
        )  # fmt: skip
        return model, _problem(first, found)

    def _header(self, path: Path, mark: Stamp) -> GgufHeader | GgufError:
        if mark not in self._headers:
            try:
                # The template and the metadata are read again when a model is loaded; a list does not need them.
                header = read_header(path)
                self._headers[mark] = replace(header, metadata={}, chat_template=header.chat_template[:1])
            except GgufError as error:
                if isinstance(error.__cause__, OSError):  # permissions change without a trace in the file
                    return error
                self._headers[mark] = error
        return self._headers[mark]

    def _unknown(self, name: str) -> NotFound:
        names = [model.name for model in self._files]
        folded = {one.casefold(): one for one in names}
        near = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)
        if near:
            hint = "Did you mean " + " or ".join(folded[one] for one in near) + "?"
        elif any(not model.builtin for model in self._files):
            hint = "GET /v1/models lists those there are."
        else:
            hint = "There is no model in the models folder yet. Put a .gguf file there."
        shown = name if len(name) <= 80 else name[:77] + "..."
        return NotFound(f"There is no model called {shown!r}.", hint=hint, code="model_not_found", param="model")


_FORMATS = {"gguf": "GGUF", "safetensors": "safetensors"}


def check_runnable(model: ModelFile) -> None:
    """Raises Unsupported (code "model_not_runnable") with the reason when no loader here opens `model`."""
    if not model.runnable:
        raise Unsupported(f"{model.name} cannot be loaded: {model.reason}", code="model_not_runnable")


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path), found.st_size, found.st_mtime_ns


def _free(found: Found, taken: dict[str, tuple[Stamp, ...]]) -> str:
    """A name nothing else has: "x", or with its ending where a folder, a split file or a pickle is called so too."""
    for name in (found.name, f"{found.name}{found.path.suffix}", f"{found.name} (folder)"):
        if name not in taken:
            return name
    count = 2
    while f"{found.name} ({count})" in taken:
        count += 1
    return f"{found.name} ({count})"


def _problem(header: GgufHeader, found: Found) -> str:
    """Why a readable GGUF file is not a model that can write text here; "" when it is one."""
    if header.kind in _KINDS:
        return _KINDS[header.kind]
    if found.missing or header.split_count > len(found.parts):
        missing = found.missing or tuple(range(len(found.parts) + 1, header.split_count + 1))
        parts = ", ".join(str(number) for number in missing[:5]) + (", …" if len(missing) > 5 else "")
        lacking = f"part {parts} is" if len(missing) == 1 else f"parts {parts} are"
        return f"It is split in {header.split_count} parts, and {lacking} missing."
    if header.split_no:
        return f"This is part {header.split_no + 1} of a split model; it has to keep the name it was made with."
    if header.version == 1:
        return "This is GGUF version 1, which engines no longer open. Get a newer file of the same model."
    if header.big_endian:
        return "It was made for big-endian computers. Get the usual file of the same model."
    if header.architecture in EMBEDDING_ARCHITECTURES:
        return "It makes embeddings, not text."
    if header.architecture in IMAGE_ARCHITECTURES:
        return "It makes pictures, not text."
    if not header.architecture or not header.tensor_count:
        return f"There is no model in this file of {megabytes(header.size)}, only a header."
    return ""


def _no_loader(fmt: str, specs: tuple[LoaderSpec, ...]) -> str:
    """Why nothing here opens this format; "" when a loader does."""
    if fmt == "pickle":
        return "Pickle files can run any program when opened. Get the model as GGUF or safetensors."
    if not specs:
        hint = "" if fmt == "gguf" else " Get the model as GGUF."
        return f"No loader of this version opens {_FORMATS.get(fmt, fmt)} models.{hint}"
    if any(installed(spec) for spec in specs):
        return ""
    first = specs[0]
    command = "python start.py" + ("" if first.requirements == "base" else f" install {first.requirements}")
    return f"The loader {first.name} is not installed. Install it with: {command}"
