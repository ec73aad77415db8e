"""Finds out what a server is and what it serves: which kind, which model, how much context, how many at a time."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from loaders.base import Feature
from loaders.served.llama_probe import can
from loaders.served.probe_http import ProbeHttp, Unanswered, count_of, object_of
from loaders.served.server_kinds import FLAVOURS
from modules.errors import LoadFailed
from modules.sampling.params import LLAMA, OPENAI, SGLANG, TRTLLM, VLLM
from modules.types import Decision

_OWNERS = {"vllm": VLLM, "sglang": SGLANG, "tensorrt_llm": TRTLLM, "llamacpp": LLAMA}
_GRAMMARS_SINCE = (0, 12)
"""vLLM's version from which on grammars are sent as they are here; older ones ignore them without a word."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server's own routes lie, and below that where OpenAI's do."""

    root: str
    api: str


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What one server turned out to be. `context` and `slots` are 0 where it does not tell.

    adapters  those a request may choose, with the strength each has by itself
    notes     what people are told of it
    writes    False = it only makes vectors or ranks
    """

    flavour: Decision[str]
    model: str
    address: Address
    context: int = 0
    slots: int = 0
    adapters: Mapping[str, float] = field(default_factory=dict)
    features: frozenset[Feature] = frozenset()
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    writes: bool = True


def address_of(url: str, flavour: str) -> Address:
    """An address as people write it, taken apart: with or without /v1, or with another path before the routes."""
    url = url.rstrip("/")
    if url.endswith("/v1"):
        return Address(url[:-3].rstrip("/"), "/v1")
    if flavour in (OPENAI, "auto") and urlsplit(url).path.strip("/"):
        return Address(url, "")  # such as …/v1beta/openai: what stands before /chat/completions
    return Address(url, "/v1")


def probe(asker: ProbeHttp, address: Address, flavour: str, model: str, choose: bool = True) -> ServerFacts:
    """Ask the server. `choose` = requests are to choose among a llama.cpp server's adapters.

    Raises Unanswered when it cannot be used, LoadFailed when it has another model.
    """
    try:
        listed = _cards(asker.get(address.api + "/models"))
    except Unanswered as error:
        # Some servers have no list of models; with a name and a kind given, the first message tells the rest.
        if error.status not in (404, 405, 501) or not model or flavour == "auto":
            raise
        listed = []
    kind = _kind(flavour, listed)
    if kind.value == LLAMA:  # it has one model, whatever it is called in a request
        return _llama(asker, address, kind, str(listed[0]["id"]) if listed else model, choose)
    card = _card(listed, model, asker.shown)
    name = str(card.get("id") or model)
    features = set(FLAVOURS[kind.value].features)
    facts: dict[str, Any] = {}
    if kind.value == VLLM:
        version = _version(asker)
        facts["version"] = version or "not told"
        if version and _numbers(version) < _GRAMMARS_SINCE:
            features.discard(Feature.GRAMMAR)
            facts["grammar"] = "not offered: this vLLM is older than 0.12"
    adapters = {str(one["id"]): 0.0 for one in listed if one.get("parent") and one.get("parent") == card.get("id")}
    if not adapters:
        features.discard(Feature.LORA)
    context = card.get("max_model_len") or card.get("context_length") or card.get("context_window") or 0
    return ServerFacts(kind, name, address, count_of(context), 0, adapters, frozenset(features), facts)


def _cards(answer: Any) -> list[dict[str, Any]]:
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list):
        raise Unanswered("it has no list of models (often an address has to end with /v1)", 404)
    return [card for card in data if isinstance(card, dict) and isinstance(card.get("id"), str)]


def _kind(flavour: str, listed: list[dict[str, Any]]) -> Decision[str]:
    if flavour != "auto":
        return Decision(flavour, "It is the one in the endpoint file.")
    owner = str(listed[0].get("owned_by", "")) if listed else ""
    if owner in _OWNERS:
        return Decision(_OWNERS[owner], "The server says so of its models.")
    return Decision(OPENAI, "The server does not say what it is, so only OpenAI's own parameters are used.")


def _card(listed: list[dict[str, Any]], model: str, where: str) -> dict[str, Any]:
    """The model that is meant. Raises LoadFailed with the names there are."""
    names = [str(card["id"]) for card in listed]
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    if model and not listed:
        return {"id": model}
    if model:
        for card in listed:
            if card["id"] == model:
                return card
        near = difflib.get_close_matches(model, names, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise LoadFailed(f"The server at {where} has no model called {model[:100]}.",
                         hint=f"{hint}It has: {shown}.")  # fmt: skip
    whole = [card for card in listed if not card.get("parent")]
    if len(whole) == 1:
        return whole[0]
    if not listed:
        raise LoadFailed(f"The server at {where} names no model.", hint="Add model: NAME to the endpoint file.")
    raise LoadFailed(f"The server at {where} has {len(whole)} models.",
                     hint=f"Add one of them to the endpoint file, as model: {shown}.")  # fmt: skip


def _llama(asker: ProbeHttp, address: Address, kind: Decision[str], model: str, choose: bool) -> ServerFacts:
    """llama.cpp's server tells the rest at /props, and what it can do when it is asked for it."""
    props = asker.get("/props")
    if not isinstance(props, dict):
        raise Unanswered("what it answers to /props is not understood", 200)
    defaults = object_of(props.get("default_generation_settings"))
    found = can(asker, props, choose)
    facts = {"version": str(props.get("build_info", "not told")), "chat_template": bool(props.get("chat_template"))}
    context, slots = count_of(defaults.get("n_ctx")), count_of(props.get("total_slots"))
    return ServerFacts(
        kind, model, address, context, slots, found.adapters, found.features, facts, found.notes, found.writes
    )


def _version(asker: ProbeHttp) -> str:
    """vLLM's version, "" when it does not tell."""
    try:
        answer = asker.get("/version")
    except Unanswered:
        return ""
    return str(answer.get("version", ""))[:40] if isinstance(answer, dict) else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
