"""One call of an extension's function, with a time limit, that never raises into the program.

Why threads: a plain function that hangs cannot be interrupted in Python, but it can be left behind. It
runs in a daemon thread of its own, so that it neither stops the event loop nor the end of the program.
An `async def` runs on the event loop under a time limit, and must not block it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call: a value, or a problem in people's words. `hung` = it ran into its limit."""

    value: Any = None
    problem: str = ""
    hung: bool = False


def _settle(future: concurrent.futures.Future[Outcome], function: Callable[..., Any], arguments: list[Any]) -> None:
    """Run in the thread. BaseException on purpose: sys.exit() in an extension is a fault of that extension."""
    try:
        outcome = Outcome(function(*arguments))
    except BaseException as error:
        log.warning("an extension's function failed", exc_info=error)
        outcome = Outcome(problem=describe(error))
    if not future.done():
        future.set_result(outcome)


def describe(error: BaseException) -> str:
    """A fault of an extension in one line: the kind and what it says."""
    if isinstance(error, SystemExit):
        return "it tried to end the program (sys.exit)"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def start_call(function: Callable[..., Any], arguments: list[Any]) -> concurrent.futures.Future[Outcome]:
    """Begin `function(*arguments)` in a daemon thread; the future gets an Outcome, never an exception."""
    future: concurrent.futures.Future[Outcome] = concurrent.futures.Future()
    name = getattr(function, "__module__", "extension")
    threading.Thread(target=_settle, args=(future, function, arguments), name=f"hook {name}", daemon=True).start()
    return future


def call(function: Callable[..., Any], arguments: list[Any], limit_s: float) -> Outcome:
    """Call from plain code (start-up). Waits at most `limit_s` seconds."""
    future = start_call(function, arguments)
    try:
        return future.result(limit_s)
    except concurrent.futures.TimeoutError:
        return _hung(limit_s)


async def call_async(function: Callable[..., Any], arguments: list[Any], limit_s: float) -> Outcome:
    """Call from the event loop. Waits at most `limit_s` seconds without blocking the loop."""
    if inspect.iscoroutinefunction(function):
        return await _call_coroutine(function, arguments, limit_s)
    future = asyncio.wrap_future(start_call(function, arguments))
    done, _ = await asyncio.wait({future}, timeout=limit_s)
    return future.result() if done else _hung(limit_s)


async def _call_coroutine(function: Callable[..., Any], arguments: list[Any], limit_s: float) -> Outcome:
    task = asyncio.ensure_future(function(*arguments))
    try:
        done, _ = await asyncio.wait({task}, timeout=limit_s)
    finally:
        task.cancel()
    if not done:
        return _hung(limit_s)
    if task.cancelled():
        return Outcome(problem="it cancelled itself")
    error = task.exception()
    return Outcome(task.result()) if error is None else Outcome(problem=describe(error))


def _hung(limit_s: float) -> Outcome:
    return Outcome(problem=f"it took longer than {limit_s:g} s", hung=True)
