"""Fault: nonsense to every route. Figure: 0 answers of 500 or more that are our fault.

Run: python tests/faults/nonsense.py [requests, default 10000] [--seed N]
Routes are taken from /openapi.json, their names and bodies from a bag of things that break programs. An answer
of 500 or 503 that names a missing or failing model is right; anything else is counted.
tests/faults/test_server_faults.py runs a short form.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from modules.sampling.params import PARAMS  # noqa: E402
from tests.conftest import LiveServer, running_server  # noqa: E402

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, 2**63, 10**30, -(10**400), 1e308, "", " ", "x", "../../x", "\x00", "\u202e",
    "💥" * 50, "a" * 5000, "con", "nul.txt", "%s%n", "${7*7}", "'; drop table chats; --", "<script>", [], {}, [[]],
    {"a": {"b": []}}, [None], ["x"] * 300, "echo", "SmolLM2", {"temperature": 2}, "user", [{"role": "user"}],
    [{"role": "user", "content": "x"}], {"1": 1e308}, "\ufeff", "0", "NaN", "<__media__>", ["a", "b"], {"style": 1e308},
    [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]}],
    [{"role": "user", "content": [{"type": "image_url", "image_url": "https://example.com/"}, {"type": "text"}]}],
)  # fmt: skip
NAMES = (
    "title", "system", "text", "parent", "rev", "role", "reply", "leaf", "name", "loader", "settings", "key", "model",
    "messages", "prompt", "max_tokens", "stream", "stop", "n", "logprobs", "x", "__class__", "response_format",
    "input", "dimensions", "encoding_format", "query", "documents", "top_n", "return_documents", "lora",
    "negative_prompt",
    *(param.name for param in PARAMS),
)  # fmt: skip
RAW = (
    b"", b"{", b"[1,", b"\xff\xfe", b"null", b"NaN", b"{}" * 3, b'{"a":' * 60 + b"1" + b"}" * 60, b'{"a": Infinity}',
    b'"x"',
    b'{"temperature": NaN}', b'{"temperature": 1e999}', b'{"text": "\\ud800"}', b'{"seed": ' + b"9" * 4000 + b"}",
)  # fmt: skip
RIGHT = frozenset({"not_ready", "no_models", "load_failed", "model_not_runnable", "engine_stopped", "cancelled"})
LEFT_OUT = frozenset({"/api/models/unload", "/login"})  # one ends the engine the others need, one is slow by intent


@dataclass
class Figures:
    answers: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = ", ".join(f"{status}: {count}" for status, count in sorted(self.answers.items()))
        return f"{sum(self.answers.values())} requests: {len(self.faults)} faults of ours ({kinds})"


def filled(path: str, known: dict[str, str], rng: random.Random) -> str:
    """The route's path with real ids or nonsense in its places, and a strange query."""
    while "{" in path:
        before, _, rest = path.partition("{")
        name, _, after = rest.partition("}")
        value = known.get(name.partition(":")[0], "echo") if rng.random() < 0.6 else str(rng.choice(VALUES))[:300]
        path = before + quote(value, safe="") + after
    if rng.random() < 0.4:
        name = rng.choice(("from", "limit", "query", "before", "rev", "lines", "as", "wait"))
        path += f"?{name}={quote(str(rng.choice(VALUES))[:500])}"
    return path


def nonsense(rng: random.Random) -> bytes:
    """A body: broken, of the wrong kind, or fields with strange values."""
    if rng.random() < 0.15:
        return rng.choice(RAW)
    if rng.random() < 0.1:
        return json.dumps(rng.choice(VALUES)).encode()
    return json.dumps({rng.choice(NAMES): rng.choice(VALUES) for _ in range(rng.randrange(6))}).encode()


def run(live: LiveServer, requests: int, seed: int) -> Figures:
    """Send so many requests to a server whose echo engine is loaded."""
    rng, figures, known = random.Random(seed), Figures(), {"name": "echo"}
    paths = live.call("GET", "/openapi.json")["paths"]
    routes = [(method.upper(), path) for path, methods in paths.items() for method in methods if path not in LEFT_OUT]
    for count in range(requests):
        if count % 100 == 0:
            chat, turn = live.chat("something to work on")
            known |= {"chat_id": chat["id"], "message_id": turn["reply"]["id"]}
        method, path = rng.choice(routes) if rng.random() < 0.9 else ("PATCH", "/api/params")
        address, body = filled(path, known, rng), None if method == "GET" else nonsense(rng)
        headers = {} if body is None else {"content-type": "application/json"}
        try:
            answer = live.http.request(method, address, content=body, headers=headers)
        except httpx.InvalidURL:
            continue
        figures.answers[answer.status_code] += 1
        if answer.status_code >= 500 and code_of(answer) not in RIGHT:
            figures.faults.append(f"{answer.status_code} {method} {address} {body!r}"[:400] + f": {answer.text[:200]}")
        if answer.status_code >= 400 and code_of(answer) is None:
            figures.faults.append(f"no error object: {answer.status_code} {method} {address}: {answer.text[:200]}")
    if "Traceback" in (live.user_data / "logs" / "server.log").read_text(errors="replace"):
        figures.faults.append("there is a traceback in the log")
    return figures


def code_of(answer: httpx.Response) -> Any:
    """The error's code; None when the answer is not an error of ours."""
    try:
        return answer.json()["error"].get("code") or "none"
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def measure(requests: int, seed: int = 0) -> Figures:
    """Start a server and run."""
    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder)) as live:
        live.load_echo(images=9, embeddings=8, adapters="style", negative=True)
        figures = run(live, requests, seed)
        assert live.call("GET", "/health") == {"status": "ok"}
        return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("requests", nargs="?", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    figures = measure(options.requests, options.seed)
    print(f"seed {options.seed}: {figures}")
    for told in figures.faults[:20]:
        print(told)
    sys.exit(1 if figures.faults else 0)


if __name__ == "__main__":
    main()
