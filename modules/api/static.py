"""/web: the browser's files. With a version in the address they are cached for ever, else checked each time."""

from __future__ import annotations

from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from modules.web.assets import WEB_FOLDER

# Not the system's table: on Windows the registry may call .js plain text, and browsers refuse such modules.
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".woff": "font/woff",
    ".ttf": "font/ttf",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
}


class WebFiles(StaticFiles):
    """Files below modules/ui/web; links that lead out of it are not followed."""

    def __init__(self, folder: Path = WEB_FOLDER) -> None:
        super().__init__(directory=folder, check_dir=False)

    async def get_response(self, path: str, scope: Scope) -> Response:
        versioned = path.startswith("~")
        if versioned:
            path = path.replace("\\", "/").partition("/")[2]
        kind = TYPES.get(Path(path).suffix.lower())
        if kind is None:
            raise HTTPException(404)
        response = await super().get_response(path, scope)
        if "content-type" in response.headers:
            response.headers["content-type"] = kind
        versioned = versioned or b"v=" in scope.get("query_string", b"")
        response.headers["cache-control"] = "public, max-age=31536000, immutable" if versioned else "no-cache"
        return response
