"""Short questions to the engine's own address while it loads, past any proxy."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from typing import Any

_TIMEOUT = 10.0


def free_port() -> int:
    """A port of loopback nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def status(address: str, path: str, key: str) -> int:
    """The HTTP status of a GET; 0 when nothing answers."""
    try:
        with _open(address, path, key) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return int(error.code)
    except OSError:
        return 0


def props(address: str, key: str) -> dict[str, Any]:
    """What the engine says of itself; {} when it does not answer."""
    try:
        with _open(address, "/props", key) as answer:
            found = json.load(answer)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def first_piece(address: str, key: str) -> str:
    """The text of the token the engine puts before every prompt; "" when there is none, or it does not answer."""
    body = {"content": "", "add_special": True, "with_pieces": True}
    try:
        with _open(address, "/tokenize", key, json.dumps(body).encode()) as answer:
            piece = json.load(answer)["tokens"][0]["piece"]
    except (OSError, ValueError, LookupError, TypeError):
        return ""
    return piece if isinstance(piece, str) else ""


def _open(address: str, path: str, key: str, body: bytes | None = None) -> Any:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    ask = urllib.request.Request(f"{address}{path}", body, headers)
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(ask, timeout=_TIMEOUT)
