"""ExLlama that cannot load: no card, no package, a build that fails, a model or settings it does not take."""

from __future__ import annotations

import pytest

from loaders import exllamav3, installed
from loaders.base import LoaderSpec
from modules.errors import LoadFailed
from tests.loaders.test_exllama import BOTH, Loading, load, log

__all__ = ["load", "log"]
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize("spec", BOTH, ids=lambda spec: spec.name)
async def test_without_a_card_the_reason_is_told(
    spec: LoaderSpec, load: Loading, monkeypatch: pytest.MonkeyPatch
) -> None:
    for state, words, hint in (
        ("none", "it sees no graphics card", ""),
        ("cpu", "for the processor only", f"python3 start.py install {spec.name} --torch cuda"),
        ("broken", "libcudart", f"python3 start.py install {spec.name}"),
    ):
        monkeypatch.setenv("STANDIN_TORCH", state)
        with pytest.raises(LoadFailed, match=words) as caught:
            async with load(spec):
                pass
        assert hint in caught.value.hint


async def test_a_build_that_fails_and_a_model_it_does_not_know_are_told(
    load: Loading, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LoadFailed, match="Unknown architecture StrangeForCausalLM"):
        async with load(exllamav3.SPEC, "strange"):
            pass
    with pytest.raises(LoadFailed, match="Insufficient VRAM") as caught:
        async with load(exllamav3.SPEC, gpu_split="0.5"):
            pass
    assert "smaller context" in caught.value.hint
    for settings, words in (({"gpu_split": "a lot"}, "gigabytes"), ({"cache_type_k": "q4"}, "both"),
                            ({"mtp": True}, "MTP"), ({"gpu_split": "1", "gpu_reserve": "1"}, "exclude")):  # fmt: skip
        with pytest.raises(LoadFailed, match=words):
            async with load(exllamav3.SPEC, **settings):
                pass
    monkeypatch.setenv("STANDIN_BUILD", "fails")
    with pytest.raises(LoadFailed, match="Error building extension") as caught:
        async with load(exllamav3.SPEC):
            pass
    assert "nvcc" in caught.value.hint


@pytest.mark.parametrize("spec", BOTH, ids=lambda spec: spec.name)
async def test_without_the_package_the_way_to_install_it_is_told(
    spec: LoaderSpec, load: Loading, monkeypatch: pytest.MonkeyPatch
) -> None:
    if installed(spec):
        pytest.skip(f"{spec.name} is installed here")
    monkeypatch.delenv("PYTHONPATH")
    with pytest.raises(LoadFailed, match="is not installed") as caught:
        async with load(spec):
            pass
    assert caught.value.hint == f"Install it: python3 start.py install {spec.name}"
