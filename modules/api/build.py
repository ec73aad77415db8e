"""The ASGI application: our routes, those of extensions, the web page when it is ready, all behind Security."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import FastAPI

from modules.api import chats, docs, errors, estimates, events, login, logs, models, params, replies, state
from modules.api.auth import Auth
from modules.api.origins import OriginPolicy
from modules.api.security import Security
from modules.api.static import WebFiles
from modules.api.ui_placeholder import UiPlaceholder
from modules.app import App
from modules.dialects.dialect import DialectRouter
from modules.version import VERSION


@dataclass(frozen=True, slots=True)
class Built:
    """`asgi` is what the server runs; `page` takes the web page when its library is imported."""

    asgi: Security
    page: UiPlaceholder


def build(app: App) -> Built:
    """Put the routes together. The app is started and closed by the lifespan."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await app.start()
        try:
            yield
        finally:
            await app.close()

    api = FastAPI(
        title="Enginehouse", version=VERSION, lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    routers = app.extensions.routers()
    dialects = tuple(router.dialect for router in routers if isinstance(router, DialectRouter))
    errors.install(api, dialects)
    settings = app.settings
    auth = Auth(settings.access_key().value)
    for router in (
        state.routes(app), models.routes(app), estimates.routes(app), params.param_routes(app),
        params.preset_routes(app), chats.list_routes(app), chats.chat_routes(app), replies.message_routes(app),
        replies.reply_routes(app), logs.routes(app), events.routes(app), login.routes(auth), docs.routes(api),
    ):  # fmt: skip
        # Not include_router: for every request FastAPI then asks each router and route through layers of their own.
        api.router.routes.extend(router.routes)
    for router in routers:  # these may have dependencies and lifespans
        api.include_router(router)
    api.mount("/web", WebFiles())
    page = UiPlaceholder(expected=settings.ui, dialects=dialects)
    api.router.default = page  # not a mount at "/": that would hide "405, wrong method"
    policy = OriginPolicy.of(settings.bind_host, settings.allowed_hosts, settings.cors_origins, auth.needed)
    return Built(Security(api, policy, auth, dialects), page)
