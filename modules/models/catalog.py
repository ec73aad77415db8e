"""The catalogue: every model on disk, what it is, and why one cannot run.

A model's name is its path below the models folder, "/" between, without the ending. Names are what
clients send; the catalogue looks them up among what it found, so a name is never made into a path.
"""

from __future__ import annotations

import difflib
import logging
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from loaders import Registry, installed
from modules.errors import NotFound, Unsupported
from modules.formats.detect import UNREADABLE, detect
from modules.formats.facts import ModelFacts
from modules.formats.gguf import GgufHeader, read_header
from modules.formats.problems import Problem, Reason
from modules.models.catalog_fit import beside
from modules.models.catalog_walk import Found, walk
from modules.models.loadability import verdict
from modules.models.model_file import ModelFile

logger = logging.getLogger(__name__)
Stamp = tuple[str, int, int]


class Catalog:
    """The models of one models folder. Thread-safe; calls read the disk and belong in a thread."""

    def __init__(self, models_dir: Path, registry: Registry, allow_pickle: bool = False) -> None:
        self.models_dir = models_dir
        self._registry = registry
        self.allow_pickle = allow_pickle
        self._lock = threading.Lock()
        self._facts: dict[tuple[Stamp, ...], ModelFacts] = {}
        self._stamps: dict[str, tuple[Stamp, ...]] = {}
        self._files: tuple[ModelFile, ...] = ()
        self._aliases: dict[str, ModelFile] = {}

    def scan(self) -> tuple[ModelFile, ...]:
        """Every model there is now, by name, the built-in ones last. Files are read again only after a change."""
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

    def facts_of(self, name: str) -> ModelFacts:
        """Everything known of that model. Raises NotFound."""
        return self.get(name).facts

    def header(self, name: str) -> GgufHeader | None:
        """The GGUF header of that model, None when it is of another format. Raises NotFound, GgufError."""
        model = self.get(name)
        return read_header(model.path) if model.format == "gguf" else None

    # ── inside the lock ─────────────────────────────────────────────────────────────────────────────

    def _scan(self) -> tuple[ModelFile, ...]:
        facts: dict[tuple[Stamp, ...], ModelFacts] = {}
        stamps: dict[str, tuple[Stamp, ...]] = {}
        aliases: dict[str, ModelFile] = {}
        files: list[ModelFile] = []
        here = {spec.name: installed(spec) for spec in self._registry.specs}
        for found in walk(self.models_dir):
            marks = tuple(_stamp(path) for path in (*found.parts, *found.also))
            known = self._facts.get(marks)
            if known is None:
                known = _detected(found)
            if UNREADABLE not in known.extra:  # permissions change without a trace in the file
                facts[marks] = known
            if known.format == "unknown" and found.silent:
                continue
            name = _free(found, stamps)
            model = self._described(name, found, known, sum(mark[1] for mark in marks[: len(found.parts)]), here)
            stamps[name] = marks
            files.append(model)
        files = self._with_images(sorted(files, key=lambda one: one.name.casefold()))
        for model in files:
            below = model.path.relative_to(self.models_dir)
            aliases[below.as_posix()] = model
            aliases[below.with_suffix("").as_posix() if model.path.suffix else below.as_posix()] = model
        files.extend(self._builtin(stamps))
        aliases.update({model.name: model for model in files})
        self._facts, self._stamps, self._aliases, self._files = facts, stamps, aliases, tuple(files)
        return self._files

    def _described(self, name: str, found: Found, facts: ModelFacts, size: int, here: Mapping[str, bool]) -> ModelFile:
        judged = verdict(facts, self._registry.for_format(facts.format), here, self.allow_pickle)
        problem = Problem.of(Reason.DOWNLOADING) if found.unfinished else judged.problem
        return ModelFile(
            name=name, path=found.path, size=facts.size or size, format=facts.format, arch=facts.arch,
            quant=facts.quant, context_length=facts.context_length, parameters=facts.parameters, layers=facts.layers,
            chat_template="template" in facts.capabilities or facts.format == "endpoint", runnable=problem is None,
            reason="" if problem is None else problem.text, reason_code="" if problem is None else problem.code.value,
            loaders=judged.loaders, kind=facts.kind, capabilities=facts.capabilities,
            languages=facts.languages, installs=judged.installs, facts=facts,
        )  # fmt: skip

    def _with_images(self, files: list[ModelFile]) -> list[ModelFile]:
        """The files; a model with its image part beside it can do what that can."""
        parts = [one for one in files if one.kind == "mmproj"]
        if not parts:
            return files
        out = []
        for model in files:
            near = beside(parts, model, self.models_dir)
            more = tuple(one for one in near[0].facts.capabilities if one not in model.capabilities) if near else ()
            out.append(replace(model, capabilities=(*more, *model.capabilities)) if more else model)
        return out

    def _unchanged(self, model: ModelFile) -> bool:
        marks = self._stamps.get(model.name, ())
        return model.builtin or (model.runnable and all(_stamp(Path(mark[0])) == mark for mark in marks))

    def _builtin(self, taken: Mapping[str, tuple[Stamp, ...]]) -> list[ModelFile]:
        return [
            ModelFile(
                name=name, path=Path(name), size=0, format=spec.formats[0] if spec.formats else spec.name, arch="",
                quant="", context_length=None, parameters=None, layers=None, chat_template=True, runnable=True,
                reason="", loaders=(spec.name,), builtin=True, capabilities=("template",),
                facts=ModelFacts(spec.formats[0] if spec.formats else spec.name, capabilities=("template",)),
            )
            for spec in self._registry.specs
            for name in spec.builtin_models
            if name not in taken
        ]  # fmt: skip

    def _unknown(self, name: str) -> NotFound:
        hint = near_names(name, [model.name for model in self._files])
        if not hint and any(not model.builtin for model in self._files):
            hint = "GET /v1/models lists those there are."
        elif not hint:
            hint = "There is no model in the models folder yet. Put a .gguf file there."
        shown = name if len(name) <= 80 else name[:77] + "..."
        error = NotFound(f"There is no model called {shown!r}.", hint=hint, code="model_not_found", param="model")
        error.near = nearest(name, [model.name for model in self._files])
        return error


def _detected(found: Found) -> ModelFacts:
    """What is there; one model that nobody foresaw must not hide all others."""
    try:
        return detect(found.path, found.parts)
    except Exception as error:
        logger.exception("looking at %s", found.path)
        return ModelFacts("unknown", problem=Problem.of(Reason.NOT_UNDERSTOOD, error=type(error).__name__))


def near_names(name: str, names: list[str]) -> str:
    """A question with the names that are nearest to `name`; "" when none is near."""
    near = nearest(name, names)
    return "Did you mean " + " or ".join(near) + "?" if near else ""


def nearest(name: str, names: list[str]) -> tuple[str, ...]:
    """The names that are nearest to `name`, best first, at most three."""
    folded = {one.casefold(): one for one in names}
    return tuple(folded[one] for one in difflib.get_close_matches(name.casefold()[:300], folded, n=3, cutoff=0.5))


def check_runnable(model: ModelFile) -> None:
    """Raises Unsupported (code "model_not_runnable") with the reason when no loader here opens `model`."""
    if not model.runnable:
        raise Unsupported(f"{model.name} cannot be loaded: {model.reason}", code="model_not_runnable")


def check_writes_text(model: ModelFile) -> None:
    """Raises Unsupported (code "model_writes_no_text") when `model` makes embeddings or rankings only."""
    what = {"embedding": "embeddings", "reranker": "rankings"}.get(model.kind)
    if what:
        raise Unsupported(
            f"{model.name} makes {what}, not text.", code="model_writes_no_text",
            hint=f"Choose another model for chats; this one is for requests for {what}.",
        )  # fmt: skip


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path), found.st_size, found.st_mtime_ns


def _free(found: Found, taken: Mapping[str, tuple[Stamp, ...]]) -> str:
    """A name nothing else has: "x", or with its ending where a folder, a split file or a pickle is called so too."""
    for name in (found.name, f"{found.name}{found.path.suffix}", f"{found.name} (folder)"):
        if name not in taken:
            return name
    count = 2
    while f"{found.name} ({count})" in taken:
        count += 1
    return f"{found.name} ({count})"
