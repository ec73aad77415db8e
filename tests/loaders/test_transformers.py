"""Transformers with the starter model as a safetensors folder, by the suite every loader passes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modules.types import GenerationRequest
from tests.engine.making import ask
from tests.loaders.conformance import Conformance, Loaded
from tests.loaders.hf_folder import hf_folder, needs_folder, running_hf
from tests.loaders.sampler_cases import BASE

__all__ = ["hf_folder"]
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(280)]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def loaded(tmp_path_factory: pytest.TempPathFactory, hf_folder: Path) -> AsyncIterator[Loaded]:
    async with running_hf(tmp_path_factory.mktemp("hf"), hf_folder) as pair:
        yield pair


class TestTransformers(Conformance):
    pytestmark = needs_folder
    base = {**BASE, "max_tokens": 16}  # half the length shows as much, in half the time

    def unicode_request(self) -> tuple[GenerationRequest, str]:
        text = "🎉🎊 naïve 漢字 👩‍👩‍👧"
        return ask("Emoji:", grammar=f'root ::= "{text}"', logprobs=1, params={"max_tokens": 80}), text
