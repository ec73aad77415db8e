"""Servers that have a model already: any that speaks OpenAI's protocol, on this machine or elsewhere.

Off until a person puts a file NAME.endpoint.yaml into the models folder (modules/formats/endpoint.py); that file is the
only place an address comes from. The worker asks the servers what they are; the server process speaks to them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from loaders.base import Feature, LoaderSpec, LoadParam, LoadRequest
from loaders.served.backend import EndpointBackend
from loaders.served.probe import Address, Found, address_of, probe
from loaders.served.probe_http import Asker, Unanswered
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
        LoadParam("context", "int", 0, "Context", "Tokens of prompt and reply together. 0 = as the endpoint file or "
                  "the server says.", 0, 2**24, 256),
        LoadParam("parallel", "int", 0, "Parallel requests", "Replies at the same time at each server. 0 = as the "
                  f"endpoint file or the server says, else {DEFAULT_PARALLEL}.", 0, 4096, 1),
        LoadParam("adapters", "bool", True, "Adapters by request", "A request may choose among the LoRA adapters a "
                  "llama.cpp server was started with; every prompt is then computed anew. Off = they stay as the "
                  "server has them, and it keeps what it computed. Without effect where it has none."),
    ),
    samplers=all_samplers(),
    features=frozenset({
        Feature.PARALLEL, Feature.PROMPT_CACHE, Feature.LOGPROBS, Feature.GRAMMAR, Feature.JSON_SCHEMA,
        Feature.CONTINUE, Feature.EMBEDDINGS, Feature.RERANK, Feature.LORA, Feature.VISION,
    }),
    load="loaders.openai_endpoint:load",
)  # fmt: skip


def load(request: LoadRequest, progress: Callable[[float, str], None]) -> EndpointBackend:
    """Ask every server of the file what it is. Raises LoadFailed when none of them can be used."""
    try:
        file = read_endpoint(Path(request.path))
        key = file.secret()
    except EndpointError as error:
        raise LoadFailed(error.message, hint=error.hint, code=error.code) from error
    tls = tls_of(file.verify, file.ca_file)
    found: list[Found] = []
    servers: dict[str, str] = {}
    for place, url in enumerate(file.urls):
        address = address_of(url, file.flavour)
        asker = Asker(address.root, key, file.headers, tls, min(file.timeout, 10.0))
        progress(0.05 + 0.9 * place / len(file.urls), f"asking {asker.shown}")
        try:
            found.append(probe(asker, address, file.flavour, file.model, bool(request.settings["adapters"])))
            servers[asker.shown] = "ready"
        except Unanswered as error:
            servers[asker.shown] = str(error)
    if not found:
        said = "; ".join(f"{where}: {why}" for where, why in servers.items())
        hint = "Look whether the server runs, and at the address and the key in the endpoint file."
        raise LoadFailed(f"The endpoint cannot be used: {said}.", hint=hint, code="endpoint_unusable")
    _same(found)
    info = _info(request, file, key, found, servers)
    progress(1.0, "ready")
    return EndpointBackend(info)


def _same(found: list[Found]) -> None:
    """Servers that stand in for one another have to have the same model. Raises LoadFailed."""
    kinds = {one.flavour.value for one in found}
    models = {one.model for one in found} if kinds != {LLAMA} else set()  # llama.cpp's names are its files' places
    if len(kinds) > 1 or len(models) > 1:
        what = "kinds" if len(kinds) > 1 else "models"
        names = ", ".join(sorted(kinds if len(kinds) > 1 else models))
        hint = "Put servers of the same model into one file, and others into files of their own."
        raise LoadFailed(f"The servers of this endpoint have different {what}: {names}.", hint=hint)
    if len({one.writes for one in found}) > 1:
        raise LoadFailed("Some servers of this endpoint write text, and others only make vectors.",
                         hint="Put them into files of their own.")  # fmt: skip


def _adapters(found: list[Found]) -> tuple[dict[str, float], list[str]]:
    """Those every server has, and what is said of others. llama.cpp's have to be the same: what acts by itself does."""
    first, *others = (dict(one.adapters) for one in found)
    shared = {name: scale for name, scale in first.items() if all(other.get(name) == scale for other in others)}
    if all(other == shared for other in (first, *others)):
        return shared, []
    if found[0].flavour.value == LLAMA:
        shared = {}
    names = ", ".join(shared) or "none"
    return shared, [f"The servers do not have the same adapters; by request there are: {names}."]


def _info(
    request: LoadRequest, file: EndpointFile, key: str, found: list[Found], servers: dict[str, str]
) -> EngineInfo:
    first = found[0]
    llama = first.flavour.value == LLAMA
    context = _context(int(_number(request.settings["context"])), file, found)
    told = min((one.slots for one in found if one.slots), default=0)
    asked = int(_number(request.settings["parallel"])) or file.parallel
    slots = asked or told or DEFAULT_PARALLEL
    addresses = [address_of(url, file.flavour) for url in file.urls]
    # The first is one that answers; those that do not answer now may come back.
    addresses.sort(key=lambda address: address != first.address)
    features = frozenset.intersection(*(one.features for one in found))
    if not file.images and not llama:
        features -= {Feature.VISION}
    adapters, said = _adapters(found)
    if not adapters:
        features -= {Feature.LORA}
    endpoints = [_endpoint(address, key, first, file, slots) for address in addresses]
    return EngineInfo(
        model=request.model,
        loader=SPEC.name,
        context=context.value,
        slots=slots * len(endpoints),
        chat_template=bool(first.facts.get("chat_template", True)),
        endpoint=_joined(endpoints),
        details=_details(file, first, context, servers) | _notes(found, said),
        renders_templates=llama,
        adapters=adapters,
        features=tuple(sorted(str(feature) for feature in features)),
        sends_to=file.sends_to,
    )


def _endpoint(address: Address, key: str, first: Found, file: EndpointFile, slots: int) -> Endpoint:
    return Endpoint(
        address.root, key, first.flavour.value, address.api, first.model, hosted=False, slots=slots,
        headers=dict(file.headers), verify=file.verify, ca_file=file.ca_file, timeout=file.timeout,
    )  # fmt: skip


def _joined(endpoints: list[Endpoint]) -> Endpoint:
    return replace(endpoints[0], more=tuple(endpoints[1:]))


def _context(asked: int, file: EndpointFile, found: list[Found]) -> Decision[int]:
    """Tokens one request may use; 0 = not known."""
    told = min((one.context for one in found if one.context), default=0)
    wanted = asked or file.context
    if wanted and told and wanted > told:
        return Decision(told, f"{wanted:,} tokens were asked for, but the server has {told:,}.")
    if wanted:
        return Decision(wanted, "It was asked for.")
    if told:
        return Decision(told, "The server says so.")
    return Decision(0, "The server does not tell its context, so nothing is left out for it. Set context in the file.")


def _details(file: EndpointFile, first: Found, context: Decision[int], servers: dict[str, str]) -> dict[str, Any]:
    details: dict[str, Any] = {
        "engine": f"server of kind {first.flavour.value}",
        "kind_why": first.flavour.why,
        "model_there": first.model,
        "context_why": context.why,
        "servers": servers,
        **{name: value for name, value in first.facts.items() if name != "chat_template"},
    }
    if file.sends_to:
        details["privacy"] = f"Text leaves this machine: it goes to {file.sends_to}."
        if any(url.startswith("http:") for url in file.urls):
            details["warning"] = "Text and key travel unencrypted: an address begins with http://."
    if not file.verify:
        details["certificates"] = "not checked"
    return details


def _notes(found: list[Found], said: list[str]) -> dict[str, str]:
    """What was found out beyond the model, shown with it; said once where several servers say the same."""
    lines = dict.fromkeys([*(note for one in found for note in one.notes), *said])
    return {"notes": " ".join(lines)} if lines else {}


def _number(value: object) -> float:
    if isinstance(value, (int, float)):
        return value
    raise EngineError("a setting of the endpoint is no number")
