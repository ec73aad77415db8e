"""The program: every part, built in one place and passed down. Nothing here knows HTTP or the web page."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loaders import Registry
from modules.chats.store import ChatStore
from modules.conversation.chat_replies import ChatReplies
from modules.conversation.conversations import Conversations
from modules.conversation.prompt import PromptBuilder
from modules.conversation.reply_params import ReplyParams
from modules.errors import Cancelled, EngineError, EnginehouseError
from modules.events import Events
from modules.extensions import Extensions
from modules.generation.pipeline import Generation
from modules.hooks.context import ModelAccess, Services
from modules.models.catalog import Catalog
from modules.models.pool import ModelPool
from modules.models.status import ModelStatus
from modules.models.status_json import status_dict
from modules.replies.running import Replies
from modules.sampling.presets import Presets
from modules.sampling.values import ParamValues
from modules.settings.paths import Paths
from modules.settings.store import Settings

ROOT = Path(__file__).resolve().parent.parent
MEMORY_SECONDS = 2.0
MODELS_SECONDS = 5.0
TRASH_SECONDS = 24 * 3600.0
MEMORY_STEP = 16 * 1024 * 1024  # bytes; smaller changes are not worth an event

_log = logging.getLogger("enginehouse")

_THREADS = 32
"""For what waits (disk, names in the network, drivers). Python's own number is six on two cores: as many names that no
server answers would hold up every save."""


@dataclass(slots=True)
class App:
    """The parts of one running program.

    url        where it is reached; set once the port is known
    """

    settings: Settings
    paths: Paths
    registry: Registry
    catalog: Catalog
    models: ModelPool
    presets: Presets
    params: ParamValues
    chats: ChatStore
    replies: Replies
    generation: Generation
    extensions: Extensions
    events: Events
    reply_params: ReplyParams
    chat_replies: ChatReplies
    url: str = ""
    conversations: Conversations = field(init=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _loads: set[asyncio.Task[ModelStatus]] = field(default_factory=set)

    @classmethod
    def build(cls, settings: Settings) -> App:
        """Make the parts and tie them. Imports extensions; starts nothing. Raises StorageError."""
        paths = settings.make_paths()
        extensions = Extensions(paths, settings.extensions)
        extensions.load_all()
        registry = Registry().with_more(extensions.loaders())
        catalog = Catalog(paths.models, registry, settings.allow_pickle)
        models = ModelPool(catalog, registry, paths, settings)
        presets = Presets(ROOT / "presets", paths.presets)
        params = ParamValues(paths, presets)
        chats = ChatStore(paths.chats, lock_file=paths.lock_file)
        generation = Generation(models, extensions.hooks)
        events = Events()
        replies = Replies(events)
        reply_params = ReplyParams(params, presets, registry, lambda: models.status.loader or settings.loader)
        app = cls(settings, paths, registry, catalog, models, presets, params, chats, replies, generation,
                  extensions, events, reply_params, ChatReplies(chats, replies))  # fmt: skip
        app.conversations = Conversations(
            chats,
            generation,
            replies,
            PromptBuilder(reply_params, settings, files=chats.attachments),
            models,
            catalog,
            registry,
            events,
            app.begin_load,
        )
        extensions.set_up(Services(generation, ModelAccess(models, catalog), presets, settings))
        app._tie()
        return app

    def _tie(self) -> None:
        def model_changed(status: ModelStatus) -> None:
            self.events.publish({"type": "model", "status": status_dict(status)})

        def params_changed(changes: Mapping[str, Any], preset: str | None) -> None:
            event = {"values": dict(changes), "preset": preset, "modified": self.params.modified}
            self.events.publish({"type": "params", **event})

        self.models.on_change.append(model_changed)
        self.params.on_change.append(params_changed)

    # ── life ────────────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Begin to work: events flow, and the model of the settings is loaded in the background."""
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="waits"))
        self.events.bind()
        self._run(self._watch_memory())
        self._run(self._watch_models())
        self._run(self._empty_trash())
        if self.settings.model:
            self.load_in_background(self.settings.model, self.settings.loader or None)

    async def let_go(self) -> None:
        """The first half of the end: replies are saved and their streams end, open pages are told."""
        await self.replies.close()
        self.events.close()

    async def close(self) -> None:
        """End in order: replies are saved, pages are let go, engines end."""
        await self.let_go()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.models.close()
        await asyncio.to_thread(self.chats.close)

    def begin_load(
        self, name: str, loader: str | None = None, settings: Mapping[str, Any] | None = None,
        fallback: bool | None = None,
    ) -> asyncio.Task[ModelStatus]:  # fmt: skip
        """Load a model in a task of its own; pages see how it goes by events, and a failure is logged."""
        task = asyncio.create_task(self.models.load(name, loader, settings, fallback))
        self._loads.add(task)
        task.add_done_callback(self._load_ended)
        return task

    def _load_ended(self, task: asyncio.Task[ModelStatus]) -> None:
        self._loads.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, EnginehouseError) and not isinstance(error, Cancelled):
            _log.error("A model was not loaded: %s %s", error.message, error.hint)
        elif error is not None and not isinstance(error, Cancelled):
            _log.error("loading a model failed", exc_info=error)

    def load_in_background(
        self, name: str, loader: str | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        """Load a model that nobody waits for; the pages hear if it fails."""
        self.begin_load(name, loader, settings).add_done_callback(self.tell_failure)

    def tell_failure(self, task: asyncio.Task[ModelStatus]) -> None:
        """Tell the pages why a load failed that nobody waits for. A model's own failure is in its state already."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, EnginehouseError) and not isinstance(error, (Cancelled, EngineError)):
            self.notice("error", error.message, error.hint)

    def notice(self, level: str, message: str, hint: str = "") -> None:
        """Tell every open page something. level: "info", "warning" or "error"."""
        self.events.publish({"type": "notice", "level": level, "message": message, "hint": hint})

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("something in the background failed", exc_info=task.exception())

    # ── what there is to say ────────────────────────────────────────────────────────────────────────

    def memory(self) -> dict[str, Any]:
        """Bytes: total, available, server, engine. Some milliseconds; call it in a thread."""
        return asdict(self.models.read_memory())

    def problems(self) -> list[dict[str, str]]:
        """What is wrong and does not stop the program, each with its source."""
        found = [
            *(("settings", problem) for problem in self.settings.problems),
            *(("models", problem) for problem in self.models.problems),
            *(("parameters", problem) for problem in self.params.problems),
            *((one["source"], one["message"]) for one in self.chats.problems),
            *((f"extension {one.name}", one.problem) for one in self.extensions.loaded if one.problem),
        ]
        return [{"source": source, "message": message} for source, message in found]

    def chats_ok(self) -> bool:
        """Whether chats can be saved: the folder is there and may be written to. Looks at the disk."""
        return os.access(self.paths.chats, os.W_OK)

    async def _watch_memory(self) -> None:
        """Tell the pages when memory changed noticeably; nothing is read while nobody listens."""
        last: dict[str, Any] = {}
        while True:
            await asyncio.sleep(MEMORY_SECONDS)
            if not self.events.listeners:
                continue
            now = await asyncio.to_thread(self.memory)
            if any(abs(value - last.get(name, 0)) >= MEMORY_STEP for name, value in now.items()):
                last = now
                self.events.publish({"type": "memory", "memory": now})

    async def _empty_trash(self) -> None:
        """Once a day, for servers that run for months; a start does it too."""
        while True:
            await asyncio.sleep(TRASH_SECONDS)
            removed = await asyncio.to_thread(self.chats.empty_trash)
            if removed:
                _log.info("%d chats that were deleted long ago are removed for good", removed)

    async def _watch_models(self) -> None:
        """Tell the pages when a model file came or went; nothing is read while nobody listens."""
        last: tuple[str, ...] | None = None
        while True:
            await asyncio.sleep(MODELS_SECONDS)
            if not self.events.listeners:
                last = None
                continue
            now = tuple(file.name for file in await asyncio.to_thread(self.catalog.scan))
            if last is not None and now != last:
                self.events.publish({"type": "models"})
            last = now
