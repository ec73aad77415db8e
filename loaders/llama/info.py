"""What a loaded model is told to be, from what was decided and what the running engine says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loaders.base import Feature, LoadRequest
from loaders.llama.launch import EMBEDDINGS, RERANK, TEXT, Launch
from loaders.llama.threads import processor_threads
from modules.sampling.params import LLAMA
from modules.types import Decision, Endpoint, EngineInfo, TemplateTraits


def engine_info(
    request: LoadRequest, launch: Launch, quant: str, address: str, key: str, props: Mapping[str, Any], engine: str,
    notes: list[str], cards: list[str] | None, template: TemplateTraits, can_save: bool = True,
) -> EngineInfo:  # fmt: skip
    """`props` is the engine's answer to /props; `cards` the graphics cards it uses, None when that is not known."""
    context = _real_context(launch, props)
    images = bool(props.get("modalities", {}).get("vision"))
    if launch.files.get("mmproj") and not images:
        notes = [*notes, "The engine does not read images with this image part."]
    return EngineInfo(
        model=request.model,
        loader=request.loader,
        context=context.value,
        slots=int(props.get("total_slots") or launch.number("parallel")),
        chat_template=launch.has_template,
        shifts_context=bool(launch.values["context_shift"]),
        endpoint=Endpoint(address, key, LLAMA, slot_dir=launch.slots if can_save else ""),
        details=_details(launch, quant, engine, context, notes, cards),
        adapters={file.name: file.scale for file in launch.files.get("lora", ())} if launch.mode.value == TEXT else {},
        features=_features(launch, images, can_save),
        template=template,
    )


def _real_context(launch: Launch, props: Mapping[str, Any]) -> Decision[int]:
    """Tokens one request may use, as the running engine says it: it may round, or shrink to what fits."""
    said = props.get("default_generation_settings", {}).get("n_ctx")
    if not isinstance(said, int) or said == launch.context.value:
        return launch.context
    return Decision(said, f"{launch.context.value:,} tokens were wanted, but the engine made it {said:,}.")


def _features(launch: Launch, images: bool, can_save: bool) -> tuple[str, ...]:
    """What this model can do of what the loader can."""
    if launch.mode.value == EMBEDDINGS:
        return (Feature.EMBEDDINGS.value,)
    if launch.mode.value == RERANK:
        return (Feature.RERANK.value,)
    found = [Feature.PARALLEL, Feature.PROMPT_CACHE, Feature.LOGPROBS, Feature.GRAMMAR, Feature.JSON_SCHEMA,
             Feature.CONTINUE]  # fmt: skip
    if launch.files.get("lora"):
        found.append(Feature.LORA)
    if images:
        found.append(Feature.VISION)
    if launch.speculation != "off":
        found.append(Feature.SPECULATION)
    if launch.slots and can_save:
        found.append(Feature.SLOT_STATES)
    return tuple(feature.value for feature in found)


def _details(
    launch: Launch, quant: str, engine: str, context: Decision[int], notes: list[str], cards: list[str] | None
) -> dict[str, Any]:
    """Facts for the Model tab, and what the driver has to know (modules/drivers/llama_server.py)."""
    found: dict[str, Any] = {
        "engine": engine,
        "architecture": launch.architecture,
        "quantisation": quant,
        "trained_context": launch.trained,
        "context_why": context.why,
        "used_for": launch.mode.value,
        "used_for_why": launch.mode.why,
        "threads": processor_threads(int(launch.number("threads"))),
        "cache_type_k": launch.values["cache_type_k"],
        "cache_type_v": launch.values["cache_type_v"],
        "prompt_cache_mib": launch.values["prompt_cache_mib"],
        "speculation": launch.speculation,
    }
    if cards is not None:
        found["graphics_cards"] = ", ".join(cards) or "none"
    for name in ("draft_model", "mmproj", "control_vectors"):
        if files := launch.files.get(name):
            found[name] = ", ".join(file.name for file in files)
    if notes:
        found["notes"] = " ".join(note if note.endswith((".", "!", "?")) else f"{note}." for note in notes)
    return found
