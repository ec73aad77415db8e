"""One call to a worker and its answer: everything an engine does there that is not text generation."""

from __future__ import annotations

import asyncio
from typing import Any

from modules.engine import protocol
from modules.engine.process import WorkerProcess
from modules.errors import BadRequest, from_dict


async def call(process: WorkerProcess, method: str, stops: bool = False, **arguments: Any) -> Any:
    """The result of a method of the worker's backend. `stops`: the worker is told when nobody waits any more.

    Raises the worker's error, EngineError when it has ended, and BadRequest for what cannot be sent.
    """
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def arrived(line: protocol.Line) -> None:
        process.close_key(key)
        if answer.done():
            return
        if (error := line.get("error")) is not None:
            answer.set_exception(from_dict(error))
        else:
            answer.set_result(line.get("result"))

    key = process.open(arrived)
    try:
        line = protocol.call_line(key, method, arguments)
    except TypeError as error:
        process.close_key(key)
        raise BadRequest(f"This cannot be sent to the engine: {error}") from None
    process.send(line)
    try:
        return await answer
    finally:
        if stops:
            process.cancel(key)  # does nothing once it has answered
