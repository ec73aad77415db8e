"""Everything an extension imports from this program. What is not here is not promised to stay.

    from modules.extension_api import ExtensionContext, GenerationRequest, Text, hookimpl

An extension is a folder with a `script.py`; see docs/extensions.md. It runs inside the server with the
server's rights. The server's own checks (key, Host, Origin, body size) stand before every route it adds.
"""

from __future__ import annotations

from loaders.base import Feature, LoaderSpec, LoadParam
from modules.dialects.body import Body
from modules.dialects.constraints import Constraint, read_constraint
from modules.dialects.dialect import Dialect, DialectRouter
from modules.dialects.encoding import encoded
from modules.dialects.endpoint import answered
from modules.dialects.lora import read_lora
from modules.dialects.model_choice import ModelChoice
from modules.dialects.parallel import chunks, results
from modules.dialects.responses import ErrorResponse, EventAnswer, JsonAnswer, LineAnswer, json_response
from modules.dialects.sampling import read_sampling, read_stop, seeded
from modules.dialects.socket import serve_socket
from modules.dialects.usage import Ended, TokenCounts, reply_facts
from modules.errors import (
    BadParameter,
    BadRequest,
    Cancelled,
    Conflict,
    ContextOverflow,
    EngineCrashed,
    EngineError,
    EnginehouseError,
    Forbidden,
    LoadFailed,
    NotFound,
    NotReady,
    RateLimited,
    StorageError,
    TooLarge,
    Unauthorized,
    Unsupported,
    UnsupportedMediaType,
    from_dict,
    seconds_to_wait,
    shown_value,
)
from modules.generation.embeddings import Embedded, Ranked
from modules.generation.pipeline import Generation, Result
from modules.generation.stream_parser import token_spans
from modules.hooks.context import ExtensionContext, ModelAccess, Services
from modules.hooks.specs import hookimpl
from modules.messages.parts import AudioPart, FilePart, FunctionCall, ImagePart, TextPart
from modules.messages.tool_calls import ToolCallAssembler, openai_tool_calls
from modules.sampling.params import BY_NAME, CANONICAL, PARAMS, Param, check_values
from modules.sampling.presets import Presets
from modules.tasks import Task
from modules.types import (
    Chunk,
    Done,
    Failed,
    GenerationRequest,
    Ledger,
    Message,
    Notice,
    Progress,
    Reasoning,
    Stats,
    Text,
    TokenLogprob,
    ToolCall,
    TopLogprob,
)
from modules.version import VERSION
from modules.web.sse import send_answer, send_events, unless_disconnected

__all__ = [
    "BY_NAME",
    "CANONICAL",
    "PARAMS",
    "VERSION",
    "AudioPart",
    "BadParameter",
    "BadRequest",
    "Body",
    "Cancelled",
    "Chunk",
    "Conflict",
    "Constraint",
    "ContextOverflow",
    "Dialect",
    "DialectRouter",
    "Done",
    "Embedded",
    "Ended",
    "EngineCrashed",
    "EngineError",
    "EnginehouseError",
    "ErrorResponse",
    "EventAnswer",
    "ExtensionContext",
    "Failed",
    "Feature",
    "FilePart",
    "Forbidden",
    "FunctionCall",
    "Generation",
    "GenerationRequest",
    "ImagePart",
    "JsonAnswer",
    "Ledger",
    "LineAnswer",
    "LoadFailed",
    "LoadParam",
    "LoaderSpec",
    "Message",
    "ModelAccess",
    "ModelChoice",
    "NotFound",
    "NotReady",
    "Notice",
    "Param",
    "Presets",
    "Progress",
    "Ranked",
    "RateLimited",
    "Reasoning",
    "Result",
    "Services",
    "Stats",
    "StorageError",
    "Task",
    "Text",
    "TextPart",
    "TokenCounts",
    "TokenLogprob",
    "TooLarge",
    "ToolCall",
    "ToolCallAssembler",
    "TopLogprob",
    "Unauthorized",
    "Unsupported",
    "UnsupportedMediaType",
    "answered",
    "check_values",
    "chunks",
    "encoded",
    "from_dict",
    "hookimpl",
    "json_response",
    "openai_tool_calls",
    "read_constraint",
    "read_lora",
    "read_sampling",
    "read_stop",
    "reply_facts",
    "results",
    "seconds_to_wait",
    "seeded",
    "send_answer",
    "send_events",
    "serve_socket",
    "shown_value",
    "token_spans",
    "unless_disconnected",
]
