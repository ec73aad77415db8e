"""exllamav2 0.3.2, generator/filters/base.py."""

from __future__ import annotations


class ExLlamaV2Filter:
    def __init__(self, model, tokenizer):  # generator/filters/base.py:25
        self.model, self.tokenizer = model, tokenizer
