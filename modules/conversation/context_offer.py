"""What to do when a prompt does not fit the context: edit the message, or load the model with a larger context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modules.models.fallback import Change, worded
from modules.models.pool import ModelPool
from modules.replies.offer import Offer

STEP = 1024
"""An offered context is a multiple of this many tokens, or all the model was trained for."""


def overflow_offers(error: Mapping[str, Any], message: str | None, models: ModelPool | None) -> list[dict[str, Any]]:
    """For the `offers` of a context_length_exceeded error. Reads disk and devices: call it in a thread.

    message   the user message that can be edited, None when there is none
    models    None when another model than the loaded one was asked
    Raises NotFound and the like when the model's file is gone.
    """
    edit = [] if message is None else [{"kind": "edit_message", "message": message}]
    needed = error.get("figures", {}).get("needed", 0)
    offer = larger_context(needed, models) if needed and models is not None else None
    return edit if offer is None else [*edit, {"kind": "reload", **offer.as_dict()}]


def larger_context(needed: int, models: ModelPool) -> Offer | None:
    """The loaded model with a context of at least `needed` tokens; None where it was not trained for that, where the
    estimate says that memory would not do, and where the engine is somebody else's."""
    status = models.status
    info = status.info
    if status.model is None or info is None or (info.endpoint is not None and not info.endpoint.hosted):
        return None
    plan = models.planned(status.model, status.loader, status.settings)
    param = next((param for param in plan.spec.params if param.name == "context"), None)
    if param is None:
        return None
    trained = models.estimating.facts(plan.model).context_length
    most = min(size for size in (trained, param.high) if size) if trained or param.high else needed
    if not info.context < needed <= most:
        return None
    context = int(min(-(-needed // STEP) * STEP, most))
    settings = plan.spec.check_settings({**plan.settings, "context": context})
    if models.estimating.estimate(plan.model, plan.spec, settings).verdict in ("too large", "tight"):
        return None
    change = Change("context", param.label, f"{info.context:,}", worded(param, context))
    return Offer(plan.model.name, plan.spec.name, settings, (change,), larger=True)
