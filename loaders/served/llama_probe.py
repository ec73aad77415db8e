"""What a llama.cpp server can do, by asking it: nothing of this is told by one route, and builds differ.

A server that was not started for embeddings or ranking refuses at once with 501, whatever is asked; one that was is
asked for one short text. What could not be found out is not offered, and said. Tried with llama.cpp b11549.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from loaders.base import Feature
from loaders.served.llama_adapters import ROUTE, adapters_of
from loaders.served.probe_http import ProbeHttp, Unanswered, finite, object_of

_WORD = "a"
_NOT_THERE = (400, 404, 405, 500, 501)
"""Answers that mean no. All others (busy, no key, silence) tell nothing of what the server can do."""
_WRITES = frozenset({Feature.PARALLEL, Feature.PROMPT_CACHE, Feature.LOGPROBS, Feature.GRAMMAR, Feature.JSON_SCHEMA,
                     Feature.CONTINUE})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Can:
    """What was found out. `adapters` are those a request may choose; `notes` say what there is not, and why."""

    features: frozenset[Feature]
    adapters: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    writes: bool = True


@dataclass(frozen=True, slots=True)
class Heard:
    """The answer to one question: yes, or why not."""

    yes: bool
    why: str = ""


def can(asker: ProbeHttp, props: Mapping[str, Any], choose: bool = True) -> Can:
    """Ask. `props` is the answer to /props; `choose` = requests are to choose among the server's adapters."""
    ranks = _heard(asker, "/v1/rerank", {"query": _WORD, "documents": [_WORD]}, _a_score)
    if ranks.yes:
        vectors = Heard(False, "the model ranks, and its vectors are no embeddings")
    else:
        vectors = _heard(asker, "/v1/embeddings", {"input": [_WORD]}, _a_vector)
    features = {Feature.RERANK} if ranks.yes else {Feature.EMBEDDINGS} if vectors.yes else set()
    notes = [f"No ranking: {ranks.why}."] * (not ranks.yes) + [f"No embeddings: {vectors.why}."] * (not vectors.yes)
    if features:  # made for vectors; some write as well
        body = {"prompt": _WORD, "n_predict": 1, "cache_prompt": False}
        writes = _heard(asker, "/completion", body, lambda answer: "" if "content" in answer else "it gives no text")
        if not writes.yes:
            return Can(frozenset(features), {}, (f"It writes no text: {writes.why}.", *notes), writes=False)
    shows = object_of(props.get("modalities")).get("vision") is True
    adapters, said = _adapters(asker, props, choose)
    features |= _WRITES | ({Feature.VISION} if shows else set()) | ({Feature.LORA} if adapters else set())
    if adapters:
        features -= {Feature.PROMPT_CACHE}
    return Can(frozenset(features), adapters, (*said, *notes))


def _adapters(asker: ProbeHttp, props: Mapping[str, Any], choose: bool) -> tuple[Mapping[str, float], list[str]]:
    """The adapters a request may choose among, and what is said of them."""
    try:
        found = adapters_of(asker.get(ROUTE))
    except Unanswered as error:
        return {}, [f"No adapters: {_why(error)}."]
    except ValueError as error:
        return {}, [f"No adapters: the server's list of them is not understood ({error})."]
    if not found:
        return {}, ["No adapters: the server was started without any."]
    names = ", ".join(f"{name} ({scale:g})" for name, scale in found.items())
    if not choose:
        return {}, [f"The adapters {names} stay as the server has them: the setting adapters is off."]
    defaults = object_of(props.get("default_generation_settings"))
    if "lora" not in (object_of(defaults.get("params")) or defaults):
        return {}, [f"The adapters {names} stay as the server has them: this build takes none by request."]
    return found, [f"Adapters by request: {names}. Every prompt is computed anew, because the server's cache does not "
                   "tell with which adapters it was computed. With the setting adapters off they stay as they are, and "
                   "the cache is used."]  # fmt: skip


def _heard(
    asker: ProbeHttp, route: str, body: Mapping[str, Any], fault_of: Callable[[Mapping[str, Any]], str]
) -> Heard:
    """Whether the route gives what it has to; `fault_of` says of an answer what is wrong with it, "" = nothing."""
    try:
        answer = asker.post(route, body)
    except Unanswered as error:
        return Heard(False, _why(error))
    fault = fault_of(answer) if isinstance(answer, dict) else "its answer is not understood"
    return Heard(not fault, fault)


def _why(error: Unanswered) -> str:
    if error.status in _NOT_THERE:
        return f"the server says “{error.said.rstrip('.')}”" if error.said else str(error)
    return f"that could not be found out ({error}); load it again to ask again"


def _a_score(answer: Mapping[str, Any]) -> str:
    rows = answer.get("results")
    row = rows[0] if isinstance(rows, list) and rows else None
    return "" if isinstance(row, dict) and finite(row.get("relevance_score")) else "its answer has no score"


def _a_vector(answer: Mapping[str, Any]) -> str:
    rows = answer.get("data")
    row = rows[0] if isinstance(rows, list) and rows else None
    vector = row.get("embedding") if isinstance(row, dict) else None
    if not isinstance(vector, list) or not vector:
        return "its answer has no vector"
    if isinstance(vector[0], list):
        return "it gives one vector for each token (start it with another --pooling)"
    return "" if all(map(finite, vector)) and any(vector) else "its vector has no direction"
