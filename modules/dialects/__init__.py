"""The API dialect kit: what every HTTP API in front of the pipeline needs, whatever its fields and answers look like.

dialect      a dialect's address prefixes and the shape of its errors, also of those raised before its routes
body         request fields, nested ones too; what nobody asked for is named
endpoint     from an HTTP request to a handler
answers      JSON, server-sent events, NDJSON, with hang-up detection and keep-alive
socket       WebSocket
constraints  JSON schemas and grammars in every form clients send
sampling     sampling values, presets, stop strings
lora         LoRA adapters of one request
model_choice which model a request means
parallel     several replies at once
usage        token counts, and what an answer says of notices, context and timing

Extensions import it all from modules.extension_api.
"""
