"""What a loader does not offer is refused, or said in a reply's figures: how each feature is asked for."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from loaders.base import Feature
from modules.drivers.connect import ConnectedEngine
from modules.errors import BadParameter, EnginehouseError, Unsupported
from modules.generation.checks import checked_against
from modules.types import Message, Progress
from tests.engine.asking import embed, rerank
from tests.engine.making import ask, collect, done_of

IN_THE_SUITE: Mapping[Feature, str] = {
    Feature.PARALLEL: "parallel", Feature.PROMPT_CACHE: "prompt reuse", Feature.LOGPROBS: "logprobs",
    Feature.GRAMMAR: "grammar", Feature.JSON_SCHEMA: "JSON schema", Feature.CONTINUE: "chat and continue",
}  # fmt: skip
"""Features the conformance suite itself shows, and their cells. The others need more than the starter model: a loader
that names one shows it in a test marked with its cell, which tests/loaders/test_cells.py looks for."""

SHOWN_ELSEWHERE: Mapping[str, frozenset[Feature]] = {
    "openai-endpoint (openai)": frozenset({Feature.GRAMMAR, Feature.CONTINUE, Feature.PROMPT_CACHE}),
}
"""Column → what its loader names but this form of it lacks; another column of the loader shows it."""

REQUESTS: Mapping[Feature, Mapping[str, Any]] = {
    Feature.LORA: {"lora": {"any": 1.0}},
    Feature.VISION: {"images": ("aGVsbG8=",)},
    Feature.TOOLS: {"tools": ({"type": "function", "function": {"name": "f"}},)},
    Feature.NEGATIVE_PROMPT: {"negative_prompt": "x", "params": {"guidance_scale": 2.0}},
    Feature.LOGPROBS: {"logprobs": 1},
    Feature.GRAMMAR: {"grammar": 'root ::= "x"'},
    Feature.JSON_SCHEMA: {"json_schema": {"type": "object"}},
    Feature.CONTINUE: {"messages": (Message("assistant", "x"),), "prompt": None, "continue_last": True},
    Feature.ECHO_PROMPT: {"echo": True, "logprobs": 1},
}
"""Requests that ask for a feature."""

GUESSES_AHEAD = ("speculation", "draft_model", "draft_tokens", "draft_max", "ngram_draft")
"""What the settings of loaders that speculate are called."""


async def refused(engine: ConnectedEngine, feature: Feature) -> None:
    """Ask for a feature that is not there. Fails where it is ignored."""
    if feature in REQUESTS:
        with pytest.raises(Unsupported):
            checked_against(dataclasses.replace(ask(), **REQUESTS[feature]), engine)
    elif feature is Feature.EMBEDDINGS:
        with pytest.raises(EnginehouseError):
            await embed(engine, ["x"])
    elif feature is Feature.RERANK:
        with pytest.raises(EnginehouseError):
            await rerank(engine, "x", ["y"])
    elif feature is Feature.SPECULATION:  # a setting, not a request
        for name in GUESSES_AHEAD:
            with pytest.raises(BadParameter, match="has no setting called"):
                engine.spec.check_settings({name: "any"})
    elif feature is Feature.SLOT_STATES:  # an engine without the calls cannot be asked
        for call in (getattr(engine, "save_slot", None), getattr(engine, "restore_slot", None)):
            if call is not None:
                with pytest.raises(Unsupported):
                    await call("name", "x")
    elif feature is Feature.PARALLEL:  # the second waits, and is told so
        assert engine.info.slots == 1
        both = await asyncio.gather(*(collect(engine, ask("x", params={"max_tokens": 8})) for _ in range(2)))
        assert any(isinstance(chunk, Progress) and chunk.stage == "queued" for one in both for chunk in one)
    else:
        assert feature is Feature.PROMPT_CACHE, f"nothing shows what becomes of {feature.value}"
        stats = done_of(await collect(engine, ask("x " * 50, params={"max_tokens": 1}))).stats
        assert 0 <= stats.cached_tokens < stats.prompt_tokens, "not promised; what was reused all the same is told"
