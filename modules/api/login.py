"""/login: the one page that is open when a key is set. It trades the key for a session cookie."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from modules.api import bodies
from modules.api.auth import Auth
from modules.errors import BadRequest, Unauthorized

WRONG_KEY_SECONDS = 0.5  # slows guessing down; the key itself is what makes it hopeless

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Enginehouse: key needed</title>
<style>:root{color-scheme:light dark}body{font:16px/1.6 system-ui,sans-serif;display:grid;place-content:center;
min-height:90vh;padding:1rem}input,button{font:inherit;padding:.6rem .8rem;border-radius:10px;border:1px solid #8888}
form{display:grid;gap:.8rem;min-width:min(20rem,80vw)}#why{color:#c33;min-height:1.6em;margin:0}</style>
<form id="form"><h1>Enginehouse</h1><label for="key">Key of this server</label>
<input id="key" type="password" autocomplete="current-password" required autofocus>
<p id="why" role="alert"></p><button>Open</button></form>
<script>
const next = new URLSearchParams(location.search).get('next') || '/';
const inside = (text, origin) => {  // as the browser reads it, which drops tabs and line breaks
  const url = URL.canParse(text, origin) ? new URL(text, origin) : null;
  return url && url.origin === origin ? url.href : origin + '/';
};
const go = () => location.replace(inside(next, location.origin));
fetch('/health').then(answer => { if (answer.ok) go(); });
document.getElementById('form').addEventListener('submit', async event => {
  event.preventDefault();
  const answer = await fetch('/login', {method: 'POST', headers: {'Content-Type': 'application/json'},
    body: JSON.stringify({key: document.getElementById('key').value})});
  if (answer.ok) go();
  else document.getElementById('why').textContent = (await answer.json()).error.message;
});
</script></html>"""


def routes(auth: Auth) -> APIRouter:
    """The login page and what it posts to."""
    router = APIRouter()

    @router.get("/login", include_in_schema=False)
    async def login_page(request: Request) -> Response:
        if not auth.needed or auth.has_session(request.headers.get("cookie", "")):
            return RedirectResponse("/", 303)
        return HTMLResponse(_PAGE, headers={"cache-control": "no-store"})

    @router.post("/login", include_in_schema=False)
    async def login(request: Request) -> Response:
        """Sets the session cookie when the key is right."""
        if auth.needed and not auth.is_key(await _given_key(request)):
            await asyncio.sleep(WRONG_KEY_SECONDS)
            raise Unauthorized("The key is wrong.", hint="It was printed when the server started.")
        response = JSONResponse({"ok": True})
        if auth.needed:
            response.headers["set-cookie"] = auth.set_cookie(request.url.scheme == "https")
        return response

    return router


async def _given_key(request: Request) -> str:
    """The key in a JSON body or a form. Raises BadRequest."""
    body = await request.body()
    try:
        if bodies.is_json(request.headers.get("content-type", "")):
            value = json.loads(body)
            key = value.get("key") if isinstance(value, dict) else None
        else:
            key = parse_qs(body.decode("utf-8")).get("key", [None])[0]
    except ValueError:
        key = None
    if not isinstance(key, str):
        raise BadRequest('The body has to be {"key": …}.', param="key")
    return key
