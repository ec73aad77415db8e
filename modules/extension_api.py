"""Everything an extension imports from this program. What is not here is not promised to stay.

    from modules.extension_api import ExtensionContext, GenerationRequest, Text, hookimpl

An extension is a folder with a `script.py`; see docs/extensions.md. It runs inside the server with the
server's rights. The server's own checks (key, Host, Origin, body size) stand before every route it adds.
"""

from __future__ import annotations

from loaders.base import Feature, LoaderSpec, LoadParam
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
    from_dict,
    seconds_to_wait,
)
from modules.generation.embeddings import Embedded, Ranked
from modules.generation.pipeline import Generation, Result
from modules.generation.stream_parser import token_spans
from modules.hooks.context import ExtensionContext, ModelAccess, Services
from modules.hooks.specs import hookimpl
from modules.messages.images import without_marks
from modules.sampling.params import BY_NAME, CANONICAL, PARAMS, Param, check_values
from modules.sampling.presets import Presets
from modules.types import (
    MEDIA_MARK,
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
    TopLogprob,
)
from modules.version import VERSION
from modules.web.sse import send_answer, send_events, unless_disconnected

__all__ = [
    "BY_NAME", "CANONICAL", "MEDIA_MARK", "PARAMS", "VERSION", "BadParameter", "BadRequest", "Cancelled", "Chunk",
    "Conflict", "ContextOverflow", "Done", "Embedded", "EngineCrashed", "EngineError", "EnginehouseError",
    "ExtensionContext", "Failed", "Feature", "Forbidden", "Generation", "GenerationRequest", "Ledger",
    "LoadFailed", "LoadParam", "LoaderSpec", "Message", "ModelAccess", "NotFound", "NotReady", "Notice", "Param",
    "Presets", "Progress", "Ranked", "RateLimited", "Reasoning", "Result", "Services", "Stats", "StorageError", "Text",
    "TokenLogprob", "TooLarge", "TopLogprob", "Unauthorized", "Unsupported", "check_values", "from_dict",
    "hookimpl", "seconds_to_wait", "send_answer", "send_events", "token_spans", "unless_disconnected", "without_marks",
]  # fmt: skip
