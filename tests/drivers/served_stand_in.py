"""A program that behaves like a server of OpenAI's protocol, well or badly. Standard library only; run as a file.

As an engine: `served_stand_in.py serve …` takes vLLM's, SGLang's and TensorRT-LLM's switches, prints what they print,
answers /health with 503 and then 200, and is told how to misbehave by the environment variable STAND_IN, a JSON object:

    lines        what is printed while loading, one every `pause` seconds
    die, die at  exit code or name of a signal, and the line after which
    refuse       arguments it does not know
    arguments    it writes the arguments it was started with to this file
    owner        owned_by in /v1/models
    grandchild   start a process of its own, and write its number to this file
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PLAN: dict[str, Any] = json.loads(os.environ.get("STAND_IN", "{}"))
READY = threading.Event()
WORDS = ("Once ", "upon ", "a ", "time ", "there ", "was ", "a ", "naïve ", "fox ", "🦊.")


def argument(names: tuple[str, ...], default: str) -> str:
    """The value of a switch."""
    for name in names:
        if name in sys.argv:
            return sys.argv[sys.argv.index(name) + 1]
    return default


class Handler(BaseHTTPRequestHandler):
    """The routes."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def answer(self, body: Any, status: int = 200) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def allowed(self) -> bool:
        key = os.environ.get("VLLM_API_KEY") or argument(("--api-key",), "")
        if key and self.headers.get("Authorization") != f"Bearer {key}":
            self.answer({"error": "Unauthorized"}, 401)
            return False
        return True

    def do_GET(self) -> None:
        if self.path == "/health":
            self.answer({}, 200 if READY.is_set() else 503)
        elif self.path == "/version":
            self.answer({"version": PLAN.get("version", "0.14.1")})
        elif self.path == "/v1/models" and self.allowed():
            name = argument(("--served-model-name",), "model")
            context = int(argument(("--max-model-len", "--context-length"), "2048"))
            card = {"id": name, "owned_by": PLAN.get("owner", "vllm"), "max_model_len": context, "parent": None}
            adapters = [arg.split("=")[0] for arg in sys.argv[1:] if "=" in arg and not arg.startswith("-")]
            more = [{"id": one, "owned_by": "vllm", "parent": name} for one in adapters]
            self.answer({"object": "list", "data": [card, *more]})
        elif self.path != "/v1/models":
            self.answer({"detail": "Not Found"}, 404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.allowed():
            return
        if path := PLAN.get("asked"):
            with open(path, "a") as file:
                file.write(json.dumps({"path": self.path, "body": body}) + "\n")
        if self.path == "/tokenize":
            tokens = list(body["prompt"].encode())
            self.answer({"count": len(tokens), "max_model_len": 2048, "tokens": tokens})
        elif self.path == "/detokenize":
            self.answer({"prompt": bytes(body["tokens"]).decode("utf-8", "replace")})
        else:
            self.stream(body)

    def stream(self, body: dict[str, Any]) -> None:
        chat = "messages" in body
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        words = WORDS[: body.get("max_tokens") or len(WORDS)]
        for place, word in enumerate(words):
            end = ("length" if len(words) < len(WORDS) else "stop") if place == len(words) - 1 else None
            choice: dict[str, Any] = {"index": 0, "finish_reason": end}
            choice |= {"delta": {"content": word}} if chat else {"text": word}
            if body.get("logprobs"):
                one = {"token": word, "logprob": -0.5, "bytes": list(word.encode())}
                choice["logprobs"] = {"content": [{**one, "top_logprobs": [one]}]} if chat else {
                    "tokens": [word], "token_logprobs": [-0.5], "top_logprobs": [{word: -0.5, "x": -2.0}]}  # fmt: skip
            self.event({"choices": [choice]})
            time.sleep(PLAN.get("token", 0))
            if PLAN.get("die in reply") == place:
                if PLAN.get("by") == "exit":
                    os._exit(3)
                os.kill(os.getpid(), getattr(signal, PLAN.get("by", "SIGKILL")))
        self.event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": len(words),
                    "prompt_tokens_details": {"cached_tokens": 3}}})  # fmt: skip
        self.chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def event(self, value: Any) -> None:
        self.chunk(b"data: " + json.dumps(value).encode() + b"\n\n")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


def load() -> None:
    """Print what is printed while loading; die if that is the plan."""
    for place, line in enumerate(PLAN.get("lines", ["Starting to load model"])):
        print(line, flush=True)
        time.sleep(PLAN.get("pause", 0.02))
        if PLAN.get("die at") == place:
            if isinstance(PLAN["die"], str):
                os.kill(os.getpid(), getattr(signal, PLAN["die"]))
            os._exit(PLAN["die"])
    READY.set()


def main() -> None:
    """Serve until the end."""
    for name in PLAN.get("refuse", ()):
        if name in sys.argv:
            print(f"vllm: error: unrecognized arguments: {name}", file=sys.stderr, flush=True)
            sys.exit(2)
    if path := PLAN.get("arguments"):
        with open(path, "w") as file:
            json.dump({"argv": sys.argv[1:], "offline": os.environ.get("HF_HUB_OFFLINE"),
                       "pythonpath": os.environ.get("PYTHONPATH")}, file)  # fmt: skip
    if path := PLAN.get("grandchild"):
        child = subprocess.Popen(["sleep", "600"])
        with open(path, "w") as file:
            file.write(str(child.pid))
    if PLAN.get("says key"):
        print("key is", os.environ.get("VLLM_API_KEY"), flush=True)
    host, port = argument(("--host",), "127.0.0.1"), int(argument(("--port",), "0"))
    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    print(f"listening {server.server_address[1]}", flush=True)
    threading.Thread(target=load, daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
