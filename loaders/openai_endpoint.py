"""A server that has a model already: any that speaks OpenAI's protocol, on this machine or elsewhere.

Off until a person puts a file NAME.endpoint.yaml into the models folder (modules/formats/endpoint.py); that file is the
only place an address comes from. The worker asks the server what it is; the server process speaks to it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from loaders.base import Feature, LoaderSpec, LoadParam, LoadRequest
from loaders.served.backend import EndpointBackend
from loaders.served.probe import ServerFacts, address_of, probe
from loaders.served.probe_http import ProbeHttp, Unanswered
from loaders.served.server_kinds import all_samplers
from modules.errors import EngineError, LoadFailed
from modules.formats.endpoint import DEFAULT_PARALLEL, EndpointError, EndpointFile, read_endpoint
from modules.sampling.params import LLAMA
from modules.types import Decision, Endpoint, EngineInfo
from modules.web.tls import tls_of

SPEC = LoaderSpec(
    name="openai-endpoint",
    title="Endpoint (a server that has the model: OpenAI's protocol, near or far)",
    rank=80,
    formats=("endpoint",),
    params=(
        LoadParam("context", "int", 0, "Context length",
                  "Tokens of prompt and reply together. 0 = as the endpoint file or "
                  "the server says.", 0, 2**24, 256),
        LoadParam("parallel", "int", 0, "Parallel requests", "Replies at the same time. 0 = as the "
                  f"endpoint file or the server says, else {DEFAULT_PARALLEL}.", 0, 4096, 1),
        LoadParam("adapters", "bool", True, "Adapters by request", "A request may choose among the LoRA adapters a "
                  "llama.cpp server was started with; every prompt is then computed anew. Off = they stay as the "
                  "server has them, and it keeps what it computed. Without effect where it has none."),
    ),
    samplers=all_samplers(),
    features=frozenset({
        Feature.PARALLEL, Feature.PROMPT_CACHE, Feature.LOGPROBS, Feature.GRAMMAR, Feature.JSON_SCHEMA,
        Feature.CONTINUE, Feature.EMBEDDINGS, Feature.RERANK, Feature.LORA, Feature.VISION, Feature.TOOLS,
    }),
    load="loaders.openai_endpoint:load",
)  # fmt: skip


def load(request: LoadRequest, progress: Callable[[float, str], None]) -> EndpointBackend:
    """Ask the server of the file what it is. Raises LoadFailed when it cannot be used."""
    try:
        file = read_endpoint(Path(request.path))
        key = file.secret()
    except EndpointError as error:
        raise LoadFailed(error.message, hint=error.hint, code=error.code) from error
    address = address_of(file.url, file.flavour)
    asker = ProbeHttp(address.root, key, file.headers, tls_of(file.verify, file.ca_file), min(file.timeout, 10.0))
    progress(0.05, f"asking {asker.shown}")
    try:
        found = probe(asker, address, file.flavour, file.model, bool(request.settings["adapters"]))
    except Unanswered as error:
        hint = "Check that the server runs, and the address and the key in the endpoint file."
        raise LoadFailed(f"The endpoint cannot be used: {asker.shown}: {error}.", hint=hint,
                         code="endpoint_unusable") from error  # fmt: skip
    info = _info(request, file, key, found)
    progress(1.0, "ready")
    return EndpointBackend(info)


def _info(request: LoadRequest, file: EndpointFile, key: str, found: ServerFacts) -> EngineInfo:
    llama = found.flavour.value == LLAMA
    context = _context(int(_number(request.settings["context"])), file, found)
    features = found.features
    if not file.images and not llama:
        features -= {Feature.VISION}
    if not found.adapters:
        features -= {Feature.LORA}
    return EngineInfo(
        model=request.model,
        loader=SPEC.name,
        context=context.value,
        slots=int(_number(request.settings["parallel"])) or file.parallel or found.slots or DEFAULT_PARALLEL,
        chat_template=bool(found.facts.get("chat_template", True)),
        endpoint=Endpoint(
            found.address.root, key, found.flavour.value, found.address.api, found.model, hosted=False,
            headers=dict(file.headers), verify=file.verify, ca_file=file.ca_file, timeout=file.timeout,
        ),
        details=_details(file, found, context),
        renders_templates=llama,
        worker_renders=False,
        adapters=dict(found.adapters),
        features=tuple(sorted(str(feature) for feature in features)),
        sends_to=file.sends_to,
    )  # fmt: skip


def _context(asked: int, file: EndpointFile, found: ServerFacts) -> Decision[int]:
    """Tokens one request may use; 0 = not known."""
    told = found.context
    wanted = asked or file.context
    if wanted and told and wanted > told:
        return Decision(told, f"{wanted:,} tokens were asked for, but the server has {told:,}.")
    if wanted:
        return Decision(wanted, "It was asked for.")
    if told:
        return Decision(told, "The server says so.")
    return Decision(0, "The server does not tell its context, so nothing is left out for it. Set context in the file.")


def _details(file: EndpointFile, found: ServerFacts, context: Decision[int]) -> dict[str, Any]:
    details: dict[str, Any] = {
        "engine": f"server of kind {found.flavour.value}",
        "kind_why": found.flavour.why,
        "model_there": found.model,
        "context_why": context.why,
        **{name: value for name, value in found.facts.items() if name != "chat_template"},
    }
    if file.sends_to:
        details["privacy"] = f"Text leaves this machine: it goes to {file.sends_to}."
        if file.url.startswith("http:"):
            details["warning"] = "Text and key travel unencrypted: an address begins with http://."
    if not file.verify:
        details["certificates"] = "not checked"
    if found.notes:
        details["notes"] = " ".join(found.notes)
    return details


def _number(value: object) -> float:
    if isinstance(value, (int, float)):
        return value
    raise EngineError("a setting of the endpoint is no number")
