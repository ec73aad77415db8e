"""Where single tensors of a model go, in llama.cpp's words: pattern=buffer, with commas between."""

from __future__ import annotations

EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"
"""The experts of a mixture (llama.cpp, common/common.h)."""


def places(cpu_moe: int, override: str) -> str:
    """The text for both settings; a person's own patterns come first, because the first that fits counts."""
    parts = [part.strip() for part in override.split(",") if part.strip()]
    if cpu_moe < 0:
        parts.append(f"{EXPERTS}=CPU")
    parts += [rf"blk\.{layer}{EXPERTS}=CPU" for layer in range(cpu_moe)]
    return ",".join(parts)
