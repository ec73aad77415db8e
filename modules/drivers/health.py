"""Whether a server lives: one short question, on a connection of its own."""

from __future__ import annotations

import asyncio

from loaders.served.server_kinds import FLAVOURS
from modules.drivers import openai_errors
from modules.drivers.endpoint_client import client_of
from modules.drivers.http_client import ConnectionLost
from modules.errors import EnginehouseError
from modules.types import Endpoint

WAIT = 10.0
"""Seconds an answer may take."""
LIVES = (404, 405, 429, 501)
"""It answers, and has no such route (some have no list of models, and gateways often let only chats through), or it has
too much to do now: what that means for a request is told by the request."""


class Health:
    """Asks one endpoint. `where` is its address as people are told it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.where = openai_errors.shown(endpoint.url)
        flavour = FLAVOURS.get(endpoint.flavour)
        self._path = "/health" if flavour is None else flavour.health or endpoint.api + "/models"
        self._http = client_of(endpoint)
        self._endpoint = endpoint

    async def check(self) -> EnginehouseError | None:
        """Why the server cannot be used now, None when it can."""
        try:
            async with asyncio.timeout(WAIT):
                answer = await self._http.get_raw(self._path)
        except (OSError, ConnectionLost, ValueError) as error:  # ValueError: an answer beyond all measure
            return openai_errors.unreachable(error, self.where)
        if answer.status == 200 or answer.status in LIVES:
            return None
        return openai_errors.cleaned(openai_errors.refusal(answer.status, answer.body, self.where), self._endpoint)

    async def close(self) -> None:
        """Hang up."""
        await self._http.close()
