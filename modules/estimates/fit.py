"""From bytes per device to a verdict and its reason in people's words."""

from __future__ import annotations

from collections.abc import Sequence

from modules.estimates.values import Share, Verdict
from modules.hardware.values import Device, Hardware
from modules.types import Decision

COMFORT = 0.92
"""Up to this part of what is free a load "fits"; above it it is "tight": other programs want some too."""

_RANK: dict[Verdict, int] = {"fits": 0, "tight": 1, "unknown": 2, "too large": 3}


def amount(count: int) -> str:
    """Bytes for people: "326 MB", "7.9 GB"."""
    if count >= 10**9:
        size = count / 10**9
        return f"{size:.0f} GB" if size >= 100 else f"{size:.1f} GB"
    return f"{max(1, round(count / 10**6))} MB"


def device_name(device: Device) -> str:
    """How estimates name a device ("cuda:0")."""
    return f"{device.kind}:{device.index}"


def judged(shares: Sequence[Share], hardware: Hardware) -> Decision[Verdict]:
    """The worst of all devices decides."""
    worst: Decision[Verdict] | None = None
    shared = any(device.kind == "metal" for device in hardware.devices)
    for share in shares:
        found = _one(share, hardware, sum(one.total for one in shares) if shared else share.total)
        if worst is None or _RANK[found.value] > _RANK[worst.value]:
            worst = found
    return worst or Decision("unknown", "Nothing is known of what it takes.")


def _one(share: Share, hardware: Hardware, need: int) -> Decision[Verdict]:
    if share.device == "cpu":
        name, total, free = "main memory", hardware.ram_total or None, hardware.ram_free
    else:
        device = next((one for one in hardware.devices if device_name(one) == share.device), None)
        if device is None:
            return Decision("unknown", f"The device {share.device} is not known.")
        name, total, free = device.name, device.total, device.free if device.free is not None else -1
    if total is None or free < 0:
        return Decision("unknown", f"It takes about {amount(need)} of {name}; how much is free there is not known.")
    if need > free:
        if need > total:
            return Decision(
                "too large", f"It takes about {amount(need)} of {name}, but there are only {amount(total)}."
            )
        return Decision("too large", f"It takes about {amount(need)} of {name}, but only {amount(free)} are free of "
                                   f"{amount(total)}.")  # fmt: skip
    said = f"It takes about {amount(need)} of the {amount(free)} that are free of {name}"
    if need > COMFORT * free:
        return Decision("tight", f"{said}: little is left for other programs.")
    return Decision("fits", f"{said}.")
