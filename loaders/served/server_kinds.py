"""What servers that speak OpenAI's protocol take beyond it, one row per kind. Data only.

Sources: vllm/entrypoints/openai/chat_completion/protocol.py and docs/features/structured_outputs (the `guided_…` names
went in 0.12), sglang/srt/entrypoints/openai/protocol.py, tensorrt_llm/serve/openai_protocol.py (which forbids names it
does not know), OpenAI's API reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from loaders.base import Feature
from modules.sampling.params import LLAMA, OPENAI, SGLANG, TRTLLM, VLLM, dialect

Grammar = Literal["none", "structured_outputs", "ebnf", "response_format"]


@dataclass(frozen=True, slots=True)
class Flavour:
    """One kind of server.

    complete    every sampler is sent, the neutral ones too: the server's own defaults come out of the model's
                generation_config.json. False = only what was asked for, because some models refuse the rest
    top_k_off   what turns top_k off
    tokenize    whether it has /tokenize and /detokenize; `text_key` is what the latter answers with
    template    whether it takes variables for the chat template
    grammar     how a grammar is sent
    json_format the type of response_format for a JSON schema
    completions_schema  whether a JSON schema works for raw prompts
    lora        the body's name for an adapter, "" = it has none; "model" = an adapter is a model of its own
    open_limit  how a raw prompt asks for text without a limit: leave it out, send null, or a number has to be sent
    health      what is asked to know whether it lives
    """

    name: str
    features: frozenset[Feature]
    complete: bool = True
    top_k_off: int = -1
    tokenize: bool = False
    text_key: str = "prompt"
    template: bool = True
    grammar: Grammar = "none"
    json_format: Literal["json_schema", "json"] = "json_schema"
    completions_schema: bool = True
    lora: str = ""
    open_limit: Literal["leave out", "null", "number"] = "leave out"
    health: str = "/health"


_BASE = frozenset({Feature.PARALLEL, Feature.LOGPROBS, Feature.JSON_SCHEMA, Feature.TOOLS})
_CACHED = _BASE | {Feature.PROMPT_CACHE, Feature.GRAMMAR, Feature.CONTINUE}

FLAVOURS: Mapping[str, Flavour] = {
    row.name: row
    for row in (
        Flavour(OPENAI, _BASE | {Feature.EMBEDDINGS, Feature.VISION}, complete=False, template=False,
                completions_schema=False, open_limit="number", health=""),
        Flavour(VLLM, _CACHED | {Feature.LORA, Feature.VISION, Feature.EMBEDDINGS}, tokenize=True,
                grammar="structured_outputs", lora="model", open_limit="null"),
        Flavour(SGLANG, _CACHED | {Feature.LORA, Feature.VISION, Feature.EMBEDDINGS}, tokenize=True, text_key="text",
                grammar="ebnf", lora="lora_path", open_limit="number"),
        Flavour(TRTLLM, _BASE | {Feature.GRAMMAR, Feature.VISION}, top_k_off=0, grammar="response_format",
                json_format="json"),
    )
}  # fmt: skip


def samplers_of(flavour: str) -> Mapping[str, str]:
    """PARAMS name → the server's own name, for a kind of server; llama.cpp's is one of them."""
    return dialect(flavour)


def all_samplers() -> Mapping[str, str]:
    """Every parameter at least one kind of server takes: what a page offers before it is known which kind it is."""
    return {**dialect(LLAMA), **dialect(VLLM)}
