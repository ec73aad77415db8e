"""How fast is the Transformers loader beside plain `model.generate`, and what does the second turn of a chat compute?

Everything happens in one process on one loaded model, in turns: plain `generate` one prompt at a time, the loader with
one reply, the loader with eight at once. All greedy, all to the same length.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from loaders.base import LoadRequest  # noqa: E402
from loaders.transformers import SPEC, load  # noqa: E402
from modules.types import Done, GenerationRequest, Message, Text  # noqa: E402

SUBJECTS = ("the sea", "a garden", "an old clock", "two brothers", "rain", "a lighthouse", "bread", "the moon")
STORY = "The keeper of the lighthouse wrote down the weather of every day in a large book. "


def prompts(backend: Any, streams: int) -> list[tuple[int, ...]]:
    """A chat of one question for each stream, as token ids."""
    texts = [f"Write a long story about {SUBJECTS[n % len(SUBJECTS)]}." for n in range(streams)]
    return [tuple(backend.tokenize(backend.render((Message("user", text),), {}, False), True)) for text in texts]


def plain(model: Any, prompt: Sequence[int], tokens: int) -> float:
    """Seconds `model.generate` takes for one reply."""
    import torch

    ids = torch.tensor([prompt], device=model.device)
    begun = time.perf_counter()
    model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False
    )
    return time.perf_counter() - begun


def reply(backend: Any, prompt: str | tuple[int, ...], tokens: int) -> tuple[str, Done]:
    """One reply of the loader."""
    params = {"temperature": 0.0, "max_tokens": tokens, "ban_eos_token": True}
    request = GenerationRequest(id="bench", prompt=prompt, params=params)
    text = ""
    for chunk in backend.generate(request, lambda: False):
        if isinstance(chunk, Text):
            text += chunk.text
        if isinstance(chunk, Done):
            return text, chunk
    raise SystemExit("a reply failed")


def side_by_side(backend: Any, tokens: int, rounds: int, streams: int) -> None:
    """Print tokens per second of each way, and what they are to plain `generate` one at a time."""
    model = backend._scheduler._forward.model
    asked = prompts(backend, streams)
    rates: dict[str, list[float]] = {"plain": [], "one": [], "many": []}
    pool = ThreadPoolExecutor(streams)
    for number in range(rounds + 1):
        backend._scheduler._prefixes.clear()
        taken = {"plain": tokens / plain(model, asked[0], tokens)}
        begun = time.perf_counter()
        reply(backend, asked[0], tokens)
        taken["one"] = tokens / (time.perf_counter() - begun)
        backend._scheduler._prefixes.clear()
        begun = time.perf_counter()
        list(pool.map(lambda prompt: reply(backend, prompt, tokens), asked))
        taken["many"] = streams * tokens / (time.perf_counter() - begun)
        if number:  # the first round warms everything up
            for name, rate in taken.items():
                rates[name].append(rate)
    base = statistics.median(rates["plain"])
    names = {"plain": "model.generate, one at a time", "one": "loader, 1 stream", "many": f"loader, {streams} streams"}
    for name, title in names.items():
        middle = statistics.median(rates[name])
        print(f"| {title} | {middle:.1f} ({min(rates[name]):.1f}-{max(rates[name]):.1f}) | {middle / base:.2f} |")


def second_turn(backend: Any, wanted: int) -> None:
    """Print how many tokens the second turn of a chat of about `wanted` tokens computes."""
    story = STORY * (wanted // len(backend.tokenize(STORY, False)))
    chat = (Message("user", story + "What did he write?"),)
    text, first = reply(backend, backend.render(chat, {}, False), 16)
    more = (*chat, Message("assistant", text), Message("user", "And the next day?"))
    _, second = reply(backend, backend.render(more, {}, False), 4)
    new = second.stats.prompt_tokens - first.stats.prompt_tokens
    print(f"first turn: {first.stats.prompt_tokens} prompt tokens, {first.stats.first_token_ms:.0f} ms to the first")
    print(
        f"second turn: {second.stats.prompt_tokens} prompt tokens, {new} more than the first turn's prompt, "
        f"{second.stats.prompt_tokens - second.stats.cached_tokens} computed, "
        f"{second.stats.first_token_ms:.0f} ms to the first"
    )


def main() -> None:
    """Load the model once and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a Hugging Face folder")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--chat", type=int, default=2000, help="tokens of the chat whose second turn is measured")
    given = parser.parse_args()
    settings = SPEC.check_settings({"device": given.device, "dtype": given.dtype, "parallel": given.streams})
    with tempfile.TemporaryDirectory() as scratch:
        request = LoadRequest(given.model.name, str(given.model), SPEC.name, settings, scratch)
        backend: Any = load(request, lambda fraction, stage: None)
        details = backend.info.details
        print(f"{details['engine']} on {details['device']}, {details['dtype']}, {platform.machine()}, "
              f"{details['threads']} threads, load {os.getloadavg()[0]:.1f}")  # fmt: skip
        print("| what | tokens/s, median (range) | against plain |\n|---|---|---|")
        side_by_side(backend, given.tokens, given.rounds, given.streams)
        second_turn(backend, given.chat)
        backend.close()


if __name__ == "__main__":
    main()
