"""ExLlamaV3 and ExLlamaV2 with the starter model on a real card, by the suite every loader passes.

ExLlamaV3 brings its own quantiser: the EXL3 model is made here from the starter model's safetensors. ExLlamaV2 reads
those as they are.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loaders import exllamav2, exllamav3, installed
from loaders.base import LoaderSpec
from modules.engine.watchdog import Limits
from modules.types import GenerationRequest
from tests.engine.making import ROOT, ask, collect, done_of, running
from tests.loaders.conformance import Conformance, Loaded
from tests.loaders.hf_folder import hf_folder, needs_folder

__all__ = ["hf_folder"]

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(2400)]
HAS_CARD = shutil.which("nvidia-smi") is not None
_QUANTISE = """
import sys
from exllamav3.conversion.convert_model import main, parser, prepare
source, target, work = sys.argv[1:4]
args = parser.parse_args(["-i", source, "-o", target, "-w", work, "-b", "4", "-cr", "16", "-cc", "512"])
wanted, state, ok, error = prepare(args)
assert ok, error
main(wanted, state)
"""


def needs(spec: LoaderSpec) -> list[pytest.MarkDecorator]:
    return [
        *needs_folder,
        pytest.mark.gpu,
        pytest.mark.skipif(not HAS_CARD, reason=f"{spec.name} needs an NVIDIA card, and nvidia-smi is not here"),
        pytest.mark.skipif(
            not installed(spec), reason=f"{spec.name} is not installed: python3 start.py install {spec.name}"
        ),
    ]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def exl3_folder(hf_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The starter model at four bits; its folder has the tokenizer, too."""
    target = tmp_path_factory.mktemp("exl3") / "smollm2-exl3"
    arguments = [str(hf_folder), str(target), str(tmp_path_factory.mktemp("work"))]
    made = subprocess.run(  # the first start compiles the library
        [sys.executable, "-c", _QUANTISE, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=2000
    )
    assert made.returncode == 0, made.stderr[-2000:]
    return target


class OnCard(Conformance):
    """What both have in common."""

    def unicode_request(self) -> tuple[GenerationRequest, str]:
        text = "🎉🎊 naïve 漢字 👩‍👩‍👧"
        return ask("Emoji:", grammar=f'root ::= "{text}"', logprobs=1, params={"max_tokens": 80}), text


class TestExLlamaV3(OnCard):
    pytestmark = needs(exllamav3.SPEC)

    @pytest.fixture(scope="class")
    async def loaded(self, tmp_path_factory: pytest.TempPathFactory, exl3_folder: Path) -> AsyncIterator[Loaded]:
        async with running(
            tmp_path_factory.mktemp("v3"), exllamav3.SPEC, str(exl3_folder), Limits(), context=768
        ) as pair:
            yield pair


class TestExLlamaV2(OnCard):
    pytestmark = needs(exllamav2.SPEC)

    @pytest.fixture(scope="class")
    async def loaded(self, tmp_path_factory: pytest.TempPathFactory, hf_folder: Path) -> AsyncIterator[Loaded]:
        async with running(
            tmp_path_factory.mktemp("v2"), exllamav2.SPEC, str(hf_folder), Limits(), context=768
        ) as pair:
            yield pair


class TestExLlamaV3Settings:
    pytestmark = needs(exllamav3.SPEC)

    @pytest.mark.parametrize(
        "settings",
        [{"cache_type_k": "q8", "cache_type_v": "q8"}, {"cache_type_k": "q6", "cache_type_v": "q4"}, {"ngram": 3}],
        ids=["eight bits", "six and four bits", "guessing from repeated text"],
    )
    async def test_a_reply_is_computed_with_it(
        self, tmp_path: Path, exl3_folder: Path, settings: dict[str, str | int]
    ) -> None:
        async with running(tmp_path, exllamav3.SPEC, str(exl3_folder), Limits(), context=512, **settings) as (
            engine,
            _,
        ):
            done = done_of(await collect(engine, ask("The capital of France is", params={"max_tokens": 12})))
            assert done.stats.completion_tokens

    async def test_unquantised_folders_are_read_too(self, tmp_path: Path, hf_folder: Path) -> None:
        async with running(tmp_path, exllamav3.SPEC, str(hf_folder), Limits(), context=512) as (engine, _):
            done_of(await collect(engine, ask("The capital of France is", params={"max_tokens": 12})))
