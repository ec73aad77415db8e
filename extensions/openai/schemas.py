"""The requests as JSON schemas for /docs; the sampling fields come from the PARAMS table."""

from __future__ import annotations

from typing import Any

from modules.extension_api import PARAMS, Param

_KINDS = {"float": "number", "int": "integer", "bool": "boolean", "text": "string", "choice": "string",
          "list": "array", "map": "object"}  # fmt: skip


def _field(kind: str, text: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "description": text, **more}


def _param(param: Param) -> dict[str, Any]:
    field: dict[str, Any] = {"type": _KINDS[param.kind], "description": param.help, "nullable": True}
    if param.kind == "list":
        field["items"] = {"type": "string"}
    if param.choices:
        field["enum"] = list(param.choices)
    return field


_COMMON = {
    "model": _field("string", 'A model\'s name from /v1/models. Empty or "default": the one that is loaded.'),
    "stream": _field("boolean", "Send the reply as server-sent events."),
    "stream_options": _field("object", "include_usage: end the stream with the token counts."),
    "stop": {"description": "Up to 16 strings that end the reply.", "anyOf": [
        {"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
    "n": _field("integer", "How many replies, 1 to 16; they run in parallel, with the seeds seed, seed + 1, …"),
    "preset": _field("string", "A preset's name; its values count where the request names none."),
    "response_format": _field("object", "text, json_object, json_schema or grammar; forms: docs/api.md."),
    "grammar": _field("string", "A GBNF grammar the reply has to follow."),
    "context_overflow": _field("string", "What to do when it does not fit.", enum=["error", "drop_oldest"]),
    "lora": {
        "description": "LoRA adapters for this reply: {name: scale}, or a list of {name, scale}. Left out: as the "
        "model was loaded; {}: none.", "anyOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}],
    },
    "negative_prompt": _field("string", "What guidance_scale moves away from."),
}  # fmt: skip
_SAMPLING = {param.name: _param(param) for param in PARAMS}
_MESSAGE = _field("object", "One turn.", required=["role"], properties={
    "role": _field("string", "Who speaks.", enum=["system", "developer", "user", "assistant", "tool"]),
    "content": {"description": "Text, or a list of text and image parts (image_url with a data: URL)."},
    "tool_calls": {"type": "array", "description": "The calls an assistant made.", "items": {"type": "object"}},
    "tool_call_id": _field("string", "Role tool: the call this is the result of."),
    "reasoning_content": _field("string", "Role assistant: its thinking, for templates that keep it."),
})  # fmt: skip

CHAT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["messages"],
    "properties": {
        "messages": {"type": "array", "minItems": 1, "items": _MESSAGE},
        **_COMMON,
        **_SAMPLING,
        "max_completion_tokens": _field("integer", "The same as max_tokens."),
        "logprobs": _field("boolean", "Give each token's log probability."),
        "top_logprobs": _field("integer", "Give the n likeliest tokens at each place, 0 to 20."),
        "chat_template_kwargs": _field("object", "Further variables for the model's chat template."),
        "tools": {"type": "array", "description": "Functions the model may call.", "items": {"type": "object"}},
        "tool_choice": {"description": "auto, none, required, or {type: function, function: {name}}."},
        "parallel_tool_calls": _field("boolean", "Whether one reply may make several calls."),
        "continue_final_message": _field("boolean", "Go on with the last message, which is the assistant's."),
    },
}
COMPLETION_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["prompt"],
    "properties": {
        "prompt": {"description": "Text, token ids, or a list of several."},
        **_COMMON,
        **_SAMPLING,
        "logprobs": _field("integer", "Give the n likeliest tokens at each place, 0 to 20."),
        "echo": _field("boolean", "Give the prompt back before the completion."),
        "best_of": _field("integer", "Only the same number as n."),
    },
}

_STRINGS = {"type": "array", "items": {"type": "string"}}
EMBEDDING_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["input"],
    "properties": {
        "model": _COMMON["model"],
        "input": {"description": "A text, token ids, or a list of up to 2,048 of either.",
                  "anyOf": [{"type": "string"}, _STRINGS, {"type": "array", "items": {"type": "integer"}}]},
        "encoding_format": _field("string", "float, or base64 of 32-bit floats.", enum=["float", "base64"]),
        "dimensions": _field("integer", "Keep only so many numbers of each vector, and make it of length 1 again."),
        "user": _field("string", "No effect."),
    },
}  # fmt: skip
RERANK_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["query", "documents"],
    "properties": {
        "model": _COMMON["model"],
        "query": _field("string", "What is looked for."),
        "documents": {"type": "array", "description": "Up to 1,024 texts, or objects with a text."},
        "top_n": _field("integer", "How many to give back, the best first; left out: all."),
        "return_documents": _field("boolean", "Give each document's text back with its score."),
        "user": _field("string", "No effect."),
    },
}
