"""A tokenizer of bytes, and what both stand-ins do alike."""

from __future__ import annotations

import json
import os
import time

import torch

EOS, BOS = 256, 257
PAGE = 256


def told(what: str, **values: object) -> None:
    """Write one call down for the test."""
    if path := os.environ.get("STANDIN_LOG"):
        with open(path, "a", encoding="utf-8") as log:
            log.write(json.dumps({"what": what} | values, default=str) + "\n")


class Bytes:
    """Token 0–255 is that byte; an embedding's alias becomes numbers from a million on."""

    bos_token_id, eos_token_id = BOS, EOS

    def ids(self, text: str, add_bos: bool, embeddings: list) -> torch.Tensor:
        ids = [BOS] if add_bos else []
        for name, token in (("<s>", BOS), ("</s>", EOS)):
            text = text.replace(name, chr(0xE000 + token))
        for number, one in enumerate(embeddings):
            text = text.replace(one.text_alias, chr(0xF000 + number))
        for char in text:
            if 0xE000 <= ord(char) < 0xF000:
                ids.append(ord(char) - 0xE000)
            elif 0xF000 <= ord(char) < 0xF100:
                ids += [1_000_000 + ord(char) - 0xF000] * 4
            else:
                ids += list(char.encode())
        return torch.tensor([ids], dtype=torch.long)

    def text(self, ids: list[int]) -> str:
        names = {BOS: b"<s>", EOS: b"</s>"}
        return b"".join(names.get(token) or bytes([token]) for token in ids).decode("utf-8", "replace")

    def pieces(self) -> list[str]:
        return [bytes([token]).decode("utf-8", "replace") for token in range(256)] + ["</s>", "<s>"]


class Embedding:
    def __init__(self, text_alias: str) -> None:
        self.text_alias = text_alias


class Crank:
    """A generator's queue: each job repeats its prompt, a token a turn."""

    def __init__(self, tokenizer: Bytes, most: int) -> None:
        self.tokenizer, self.most = tokenizer, most
        self.pending, self.active = [], []

    def num_remaining_jobs(self) -> int:
        return len(self.pending) + len(self.active)

    def clear_queue(self) -> None:
        self.pending, self.active = [], []

    def enqueue(self, job) -> int:
        if any(b == ord("#") for b in job.prompt):
            raise AssertionError("Job requires 9 pages (only 3 available) and cannot be enqueued.")
        self.pending.append(job)
        return 0

    def cancel(self, job) -> None:
        told("cancel", written=len(job.written))
        self.pending = [one for one in self.pending if one is not job]
        self.active = [one for one in self.active if one is not job]

    def iterate(self) -> list[dict]:
        events = []
        while self.pending and len(self.active) < self.most:
            job = self.pending.pop(0)
            self.active.append(job)
            events += [{"job": job, "stage": "started", "eos": False}, self.prefill(job, len(job.prompt) // 2)]
            events.append(self.prefill(job, len(job.prompt)))
        time.sleep(0.002)
        for job in list(self.active):
            if any(b == ord("!") for b in job.prompt):
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            event = {"job": job, "stage": "streaming", **self.step(job)}
            if event["eos"]:
                self.active.remove(job)
                event |= {"new_tokens": len(job.written), "prompt_tokens": len(job.prompt), "cached_tokens": 0}
            events.append(event)
        return events

    def prefill(self, job, done: int) -> dict:
        return {"job": job, "stage": "prefill", "eos": False, "curr_progress": done, "max_progress": len(job.prompt)}

    def step(self, job) -> dict:
        """One token; held until a character is whole, as the libraries do."""
        echo = [token for token in job.prompt if token < 256]
        token = echo[len(job.written)] if len(job.written) < len(echo) else EOS
        token = job.allowed(token)
        if token == EOS and EOS not in job.stops:
            token = echo[len(job.written) % len(echo)]
        job.written.append(token)
        if token in job.stops:
            return {"eos": True, "eos_reason": "stop_token"}
        job.held.append(token)
        out = {"eos": False}
        if len(job.written) >= job.limit:
            out = {"eos": True, "eos_reason": "max_new_tokens"}
        elif job.over():
            out = {"eos": True, "eos_reason": "end_filter"}
        text = bytes(job.held).decode("utf-8", "replace")
        if "\ufffd" not in text or out["eos"]:
            out |= {"text": text, "token_ids": torch.tensor([job.held], dtype=torch.long), **job.extra(job.held)}
            job.held = []
        return out


class Work:
    """What both kinds of job have."""

    def __init__(self, input_ids, limit, stops, seed) -> None:
        self.prompt = input_ids.tolist()[0]
        self.limit, self.stops, self.seed = limit, frozenset(stops or ()), seed
        self.written, self.held = [], []

    def allowed(self, token: int) -> int:
        return token

    def over(self) -> bool:
        return False

    def extra(self, held: list[int]) -> dict:
        return {}
