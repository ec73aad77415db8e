"""exllamav3 1.6.5, model/lora.py."""

from __future__ import annotations

from standin_bytes import told


class LoRA:
    @staticmethod
    def from_directory(model, directory, lora_scaling=1.0):  # model/lora.py:45
        told("lora", directory=directory, scale=lora_scaling)
        return LoRA()
