"""What happened, told to whoever listens: model states, chats changed elsewhere, replies, parameters.

Each open page is one subscriber with a short queue of its own. A page that does not keep up loses its
queue and gets {"type": "resync"} instead: it asks for the state anew. Nobody else waits for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any

Event = Mapping[str, Any]
RESYNC: Event = {"type": "resync"}
QUEUE_LIMIT = 256


class Subscription:
    """One listener's queue; iterate over it, and close it at the end."""

    def __init__(self, events: Events, limit: int) -> None:
        self._events = events
        self._limit = limit
        self._queue: deque[Event] = deque()
        self._ready = asyncio.Event()
        self._closed = False

    def put(self, event: Event) -> None:
        """Queue an event; a full queue becomes one resync."""
        if len(self._queue) >= self._limit:
            self._queue.clear()
            event = RESYNC
        self._queue.append(event)
        self._ready.set()

    def close(self) -> None:
        """No more events for this listener; its iteration ends."""
        self._closed = True
        self._events.forget(self)
        self._ready.set()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._queue:
            if self._closed:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        return self._queue.popleft()


class Events:
    """The one place events are published. `publish` may be called from any thread once `bind` was called."""

    def __init__(self, limit: int = QUEUE_LIMIT) -> None:
        self._limit = limit
        self._subscribers: set[Subscription] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def bind(self) -> None:
        """Remember the running event loop as the one subscribers live in."""
        self._loop = asyncio.get_running_loop()

    @property
    def listeners(self) -> int:
        """How many pages listen now."""
        return len(self._subscribers)

    def subscribe(self) -> Subscription:
        """A new listener; it sees what is published from now on."""
        subscription = Subscription(self, self._limit)
        self._subscribers.add(subscription)
        if self._closed:
            subscription.close()
        return subscription

    def forget(self, subscription: Subscription) -> None:
        """Called by a subscription that closes."""
        self._subscribers.discard(subscription)

    def publish(self, event: Event) -> None:
        """Give `event` to every listener. Never waits."""
        if self._loop is None or self._loop.is_closed():
            return
        try:
            inside = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            inside = False
        if inside:
            self._put(event)
        else:
            self._loop.call_soon_threadsafe(self._put, event)

    def _put(self, event: Event) -> None:
        for subscription in tuple(self._subscribers):
            subscription.put(event)

    def close(self) -> None:
        """End every listener's iteration; later ones end at once."""
        self._closed = True
        for subscription in tuple(self._subscribers):
            subscription.close()
