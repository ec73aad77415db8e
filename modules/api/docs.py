"""/docs: the routes as a plain page, made from /openapi.json without anything from another host."""

from __future__ import annotations

from html import escape

from fastapi import APIRouter, FastAPI
from starlette.responses import HTMLResponse

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Enginehouse API</title><style>:root{{color-scheme:light dark}}body{{font:16px/1.6 system-ui,sans-serif;
max-width:60rem;margin:2rem auto;padding:0 1rem}}td{{padding:.2rem .8rem .2rem 0;vertical-align:top}}
code{{white-space:nowrap}}table{{display:block;overflow-x:auto}}</style><h1>Enginehouse API</h1>
<p>The machine-readable form is <a href="/openapi.json">openapi.json</a>.</p><table>{rows}</table></html>"""
_METHODS = ("get", "post", "put", "patch", "delete")


def routes(api: FastAPI) -> APIRouter:
    """The page; it describes the routes of `api`, those of extensions included."""
    router = APIRouter()

    @router.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        rows = [
            f"<tr><td>{method.upper()}</td><td><code>{escape(path)}</code></td>"
            f"<td>{escape(what.get('description') or what.get('summary') or '')}</td></tr>"
            for path, methods in api.openapi()["paths"].items()
            for method, what in methods.items()
            if method in _METHODS
        ]
        return HTMLResponse(_PAGE.format(rows="\n".join(rows)))

    return router
