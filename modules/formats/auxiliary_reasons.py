"""What is said of a file that goes with a model instead of being one, and the next step."""

from __future__ import annotations

from collections.abc import Mapping

COMPANION_WORDS: Mapping[str, tuple[str, str]] = {
    "mmproj": ("This is the image or sound part that goes with another model, not a model by itself.",
               "Leave it beside that model: then it is used by itself. Or name it in that model's setting mmproj."),
    "adapter": ("This is a LoRA adapter, which goes on top of another model.", "Name it in that model's setting lora."),
    "control-vector": ("This is a control vector, which steers another model.",
                       "Name it in that model's setting for control vectors."),
}  # fmt: skip
"""By kind: why it does not run, and the next step. A companion with this reason is sound; any other is a fault."""
