"""What the Transformers loader opens, what it refuses before it costs time, and what it says of its choices."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
import signal
import types
from pathlib import Path
from typing import Any

import pytest

from loaders.base import LoadRequest, NamedFile
from loaders.text.hf_folder import DEFAULT_CONTEXT, choose_context
from loaders.transformers import SPEC, load
from modules.errors import Cancelled, ContextOverflow, LoadFailed, Unsupported
from modules.types import Message, Text
from tests.engine.making import MODEL, ask, collect, done_of, text_of
from tests.loaders.hf_folder import hf_folder, needs_folder, needs_torch, running_hf
from tests.loaders.tiny_models import answer, load_here, make_adapter, make_llama, tokenizer_into

__all__ = ["hf_folder"]
pytestmark = [needs_torch, pytest.mark.timeout(200)]
real_files = needs_folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, hf_folder: Path) -> Path:
    return make_llama(tmp_path_factory.mktemp("models") / "tiny", hf_folder)


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "model"))


def change_config(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


# ── what is refused, and how it is said ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"quantization": "bnb-nf4"}, "bitsandbytes"),
        ({"quantization": "torchao-int8"}, "torchao"),
        ({"quantization": "torchao-int4"}, "cuda"),
        ({"quantization": "hqq-4bit"}, "does not offer HQQ"),
        ({"device": "cuda"}, "no cuda device"),
        ({"max_memory": "0=lots"}, "no device with an amount"),
        ({"attention": "flash_attention_2"}, "lash"),
    ],
    ids=lambda value: next(iter(value.values())) if isinstance(value, dict) else "",
)
def test_a_setting_that_cannot_be_had_here_is_refused_before_the_weights_are_read(
    copy: Path, tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has what these settings ask for")
    missing = {"bitsandbytes": "bnb", "torchao": "torchao-int8"}
    if any(importlib.util.find_spec(name) and settings.get("quantization", "").startswith(start)
           for name, start in missing.items()):  # fmt: skip
        pytest.skip("the package is installed here")
    (copy / "model.safetensors").write_bytes(b"not read")
    with pytest.raises(LoadFailed) as caught:
        load_here(copy, tmp_path, **settings)
    assert words in caught.value.message
    assert caught.value.hint


def split(folder: Path, parts: int) -> None:
    """The model's one file as several, without the index."""
    from safetensors.torch import load_file, save_file

    whole = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    for part in range(parts):
        some = {name: tensor for at, (name, tensor) in enumerate(whole.items()) if at % parts == part}
        save_file(some, folder / f"model-{part + 1:05}-of-{parts:05}.safetensors", metadata={"format": "pt"})


def test_parts_without_an_index_load_and_answer_as_the_whole_does(tiny: Path, copy: Path, tmp_path: Path) -> None:
    split(copy, 2)
    before = sorted(path.name for path in copy.iterdir())
    asked = ask("One two three", params={"temperature": 0.0, "max_tokens": 8})
    whole, engine = load_here(tiny, tmp_path / "a"), load_here(copy, tmp_path / "b")
    try:
        assert text_of(answer(engine, asked)) == text_of(answer(whole, asked))
    finally:
        engine.close()
        whole.close()
    assert sorted(path.name for path in copy.iterdir()) == before


def test_parts_that_hold_the_same_tensor_are_refused_naming_both(copy: Path, tmp_path: Path) -> None:
    split(copy, 1)
    shutil.copy(copy / "model-00001-of-00001.safetensors", copy / "other.safetensors")
    with pytest.raises(LoadFailed, match="both hold"):
        load_here(copy, tmp_path)


@needs_torch
def test_a_model_that_reads_its_prompt_in_both_directions_is_refused(tmp_path: Path) -> None:
    from loaders.hf.loading import open_model

    config: Any = types.SimpleNamespace(model_type="paligemma")
    with pytest.raises(LoadFailed, match="both directions"):
        open_model(tmp_path, config, {}, None, "", lambda fraction, what: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["gptq", "awq", "compressed-tensors", "bitsandbytes"])
def test_a_quantised_model_whose_package_is_missing_names_it(copy: Path, tmp_path: Path, method: str) -> None:
    package = {"gptq": "gptqmodel", "awq": "gptqmodel"}.get(method, method)
    if importlib.util.find_spec(package.replace("-", "_")):
        pytest.skip("the package is installed here")
    change_config(copy, quantization_config={"quant_method": method, "bits": 4, "load_in_4bit": True})
    (copy / "model.safetensors").write_bytes(b"not read")
    with pytest.raises(LoadFailed) as caught:
        load_here(copy, tmp_path)
    assert package in caught.value.message
    assert f"pip install {package}" in caught.value.hint or package in caught.value.hint


def test_hqq_is_refused_as_long_as_the_library_cannot_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.quantizers.base import HfQuantizer
    from transformers.quantizers.quantizer_hqq import HqqHfQuantizer

    from loaders.hf import quantization

    if HqqHfQuantizer.get_quantize_ops is HfQuantizer.get_quantize_ops:
        with pytest.raises(LoadFailed, match="does not offer HQQ"):
            quantization._check_hqq()
    monkeypatch.setattr(HqqHfQuantizer, "get_quantize_ops", lambda self: None)
    quantization._check_hqq()


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda folder: (folder / "config.json").unlink(), "no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be read"),
        (lambda folder: change_config(folder, model_type="flying-carpet"), "flying-carpet"),
        (lambda folder: (folder / "config.json").write_text('{"auto_map": {"AutoModel": "x.Y"}}'), "program code"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors"),
        (lambda folder: os.truncate(folder / "model.safetensors", 5000), ""),
        (lambda folder: change_config(folder, hidden_size=64), ""),
    ],
    ids=["no config", "broken config", "unknown kind", "own code", "no weights", "cut short", "other sizes"],
)
def test_a_folder_that_cannot_be_loaded_is_refused_with_its_reason(
    copy: Path, tmp_path: Path, broken: Any, words: str
) -> None:
    broken(copy)
    with pytest.raises(LoadFailed) as caught:
        load_here(copy, tmp_path)
    assert words in caught.value.message
    assert caught.value.hint


def test_pickled_weights_are_not_read_where_there_are_others_and_never_run(copy: Path, tmp_path: Path) -> None:
    import pickle

    import torch

    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "trapped"),)

    (copy / "pytorch_model.bin").write_bytes(pickle.dumps({"lm_head.weight": Trap()}, protocol=2))
    load_here(copy, tmp_path).close()
    (copy / "model.safetensors").unlink()
    with pytest.raises(LoadFailed):
        load_here(copy, tmp_path)
    torch.save({"lm_head.weight": Trap()}, copy / "pytorch_model.bin")
    with pytest.raises(LoadFailed):
        load_here(copy, tmp_path)
    assert not (tmp_path / "trapped").exists()


def test_pickled_weights_alone_are_read_as_numbers(copy: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    plain = load_here(copy, tmp_path)
    expected = text_of(answer(plain, ask("Numbers", params={"temperature": 0.0, "max_tokens": 8})))
    plain.close()
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    pickled = load_here(copy, tmp_path)
    assert text_of(answer(pickled, ask("Numbers", params={"temperature": 0.0, "max_tokens": 8}))) == expected
    pickled.close()


def test_a_pickled_or_foreign_adapter_is_refused(tiny: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.bin").write_bytes(b"x")
    with pytest.raises(LoadFailed, match="safetensors"):
        load_here(tiny, tmp_path, {"lora": (NamedFile("old", str(adapter)),)})


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # PEFT asks Transformers for it
def test_a_peft_that_is_too_old_is_not_taken_for_a_wrong_adapter(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.integrations.peft.MIN_PEFT_VERSION", "99.0")
    with pytest.raises(LoadFailed, match=r"another peft: .*99") as caught:
        load_here(tiny, tmp_path, {"lora": (NamedFile("red", str(make_adapter(tmp_path / "red", tiny, 1))),)})
    assert "start.py install transformers" in caught.value.hint


# ── what is opened ──────────────────────────────────────────────────────────────────────────────────


def test_loading_tells_how_far_it_is(tiny: Path, tmp_path: Path) -> None:
    told: list[tuple[float, str]] = []
    settings = SPEC.check_settings({"threads": 1, "device": "cpu"})
    request = LoadRequest("tiny", str(tiny), SPEC.name, settings, str(tmp_path))
    backend = load(request, lambda fraction, stage: told.append((fraction, stage)))
    backend.close()
    weights = [fraction for fraction, stage in told if stage == "loading the weights"]
    assert len(weights) > 10
    assert [fraction for fraction, _ in told] == sorted(fraction for fraction, _ in told)
    assert backend.info.details["dtype"] == "float32"
    assert backend.info.details["attention"] == "sdpa"
    assert backend.info.context == 512


def test_a_model_of_mixed_windows_gives_together_what_it_gives_alone(hf_folder: Path, tmp_path: Path) -> None:
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(3)
    config = Gemma3TextConfig(
        vocab_size=49152, hidden_size=48, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=12, max_position_embeddings=512, sliding_window=16, initializer_range=0.3,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"], bos_token_id=1, eos_token_id=2,
        pad_token_id=2,
    )  # fmt: skip
    model = Gemma3ForCausalLM(config)
    model.save_pretrained(tmp_path / "gemma")
    tokenizer_into(tmp_path / "gemma", hf_folder)
    backend = load_here(tmp_path / "gemma", tmp_path, batch_size=32)
    tokens = tuple(backend.tokenize("The window is only so wide. " * 10, True))
    with torch.no_grad():
        plain = model.generate(torch.tensor([tokens]), max_new_tokens=40, do_sample=False, eos_token_id=None)
    params = {"temperature": 0.0, "max_tokens": 40, "ban_eos_token": True}
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(3) as pool:
        said = [text_of(chunks) for chunks in pool.map(
            lambda prompt: answer(backend, ask(prompt, params=params)), [tokens, "Short", tokens[:50]])]  # fmt: skip
    alone = [text_of(answer(backend, ask(prompt, params=params))) for prompt in (tokens, "Short", tokens[:50])]
    assert backend.info.details["together"] is True
    backend.close()
    assert said == alone
    assert said[0] == backend.detokenize(plain[0, len(tokens) :].tolist())


def test_a_model_with_a_running_state_is_computed_reply_by_reply(hf_folder: Path, tmp_path: Path) -> None:
    import torch
    from transformers import MambaConfig, MambaForCausalLM

    torch.manual_seed(3)
    MambaForCausalLM(MambaConfig(
        vocab_size=49152, hidden_size=32, num_hidden_layers=2, state_size=8, bos_token_id=1, eos_token_id=2,
        pad_token_id=2,
    )).save_pretrained(tmp_path / "mamba")  # fmt: skip
    tokenizer_into(tmp_path / "mamba", hf_folder)
    backend = load_here(tmp_path / "mamba", tmp_path)
    said = [text_of(answer(backend, ask("State", params={"temperature": 0.0, "max_tokens": 8}))) for _ in range(2)]
    assert said[0]
    assert said[0] == said[1]
    assert backend.info.details["together"] is False
    with pytest.raises(LoadFailed, match="Speculative"):
        load_here(tmp_path / "mamba", tmp_path, prompt_lookup=True)
    backend.close()


@pytest.mark.cell("embeddings", loader="transformers")
def test_a_sentence_model_gives_the_vectors_its_pooling_asks_for(hf_folder: Path, tmp_path: Path) -> None:
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(1)
    folder = tmp_path / "bert"
    model = BertModel(BertConfig(
        vocab_size=49152, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, pad_token_id=2,
    ))  # fmt: skip
    model.save_pretrained(folder)
    tokenizer_into(folder, hf_folder)
    backend = load_here(folder, tmp_path)
    assert backend.info.features == ("embeddings",)
    texts = ["A short one", "A much longer text about the sea and its lighthouses"]
    found = backend.embed(texts, lambda: False)
    for text, vector in zip(texts, found.vectors, strict=True):
        ids = torch.tensor([backend.tokenize(text, True)])
        with torch.no_grad():
            mean = torch.nn.functional.normalize(model.eval()(ids).last_hidden_state.mean(1), dim=-1)[0]
        assert vector == pytest.approx(mean.tolist(), abs=1e-5)
        assert math.hypot(*vector) == pytest.approx(1, abs=1e-5)
    assert found.tokens == sum(len(backend.tokenize(text, True)) for text in texts)
    with pytest.raises(ContextOverflow):
        backend.embed(["word " * 100], lambda: False)
    asked: list[bool] = []
    with pytest.raises(Cancelled):  # asked once for each text, at the beginning of the call and before each layer
        backend.embed(texts, lambda: bool(asked.append(True)) or len(asked) > 4)
    assert len(asked) == 5
    asked.clear()
    with backend._lock, pytest.raises(Cancelled):  # while another request's texts are computed, which may take long
        backend.embed(texts, lambda: bool(asked.append(True)) or len(asked) > 2)
    assert len(backend.embed(texts, lambda: False).vectors) == 2
    with pytest.raises(Unsupported):
        answer(backend, ask("x"))

    (folder / "modules.json").write_text(json.dumps([
        {"type": "sentence_transformers.models.Transformer", "path": ""},
        {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]))  # fmt: skip
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    other = load_here(folder, tmp_path, quantization="bnb-8bit")
    assert other.info.details["notes"].endswith("so these have no effect: quantization.")
    first = other.embed(texts[:1], lambda: False).vectors[0]
    with torch.no_grad():
        hidden = model(torch.tensor([backend.tokenize(texts[0], True)])).last_hidden_state
    assert first == pytest.approx(torch.nn.functional.normalize(hidden[:, 0], dim=-1)[0].tolist(), abs=1e-5)


def test_texts_are_computed_together_as_far_as_a_cancel_is_seen_soon() -> None:
    from loaders.hf.embedding import batches

    lengths = [8192, 100, 5000, *[400] * 40, 3000, 3000]
    found = list(batches(lengths))
    assert sorted(place for places in found for place in places) == list(range(len(lengths)))
    assert all(len(places) * lengths[places[-1]] <= 8192 for places in found)
    assert [len(places) for places in found] == [16, 16, 9, 2, 1, 1]


def test_positions_that_begin_behind_the_paddings_number_are_not_counted_as_room(
    hf_folder: Path, tmp_path: Path
) -> None:
    from transformers import RobertaConfig, RobertaModel

    folder = tmp_path / "roberta"
    RobertaModel(RobertaConfig(
        vocab_size=49152, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=66, pad_token_id=1,
    )).save_pretrained(folder)  # fmt: skip
    tokenizer_into(folder, hf_folder)
    backend = load_here(folder, tmp_path)
    assert backend.info.context == 64
    assert len(backend.embed([" word" * 64], lambda: False).vectors) == 1
    with pytest.raises(ContextOverflow, match="65 tokens, but the context is 64"):
        backend.embed([" word" * 65], lambda: False)


def test_a_model_without_a_template_says_so_and_chats_all_the_same(copy: Path, tmp_path: Path) -> None:
    (copy / "chat_template.jinja").unlink()
    backend = load_here(copy, tmp_path)
    backend.close()
    assert backend.info.chat_template is False
    assert "Hi" in backend.render((Message("user", "Hi"),), {}, False)


def test_the_beginning_of_text_is_never_there_twice(copy: Path, tmp_path: Path) -> None:
    file = copy / "tokenizer.json"
    tokens = json.loads(file.read_text())
    tokens["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}},
    }  # fmt: skip
    file.write_text(json.dumps(tokens))
    backend = load_here(copy, tmp_path)
    backend.close()
    assert backend.tokenize("Hello", True)[0] == 1
    assert backend.tokenize("Hello", False)[0] != 1
    assert backend.tokenize("<|im_start|>user\nHi", True).count(1) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_worker_that_is_killed_in_mid_reply_is_told_of(tiny: Path, tmp_path: Path, anyio_backend: str) -> None:
    async with running_hf(tmp_path, tiny) as (engine, process):
        chunks = []
        async for chunk in engine.generate(ask("On", params={"max_tokens": 500, "ban_eos_token": True})):
            chunks.append(chunk)
            if isinstance(chunk, Text) and process.alive:
                os.kill(process.pid or 0, signal.SIGKILL)
        assert chunks[-1].error["code"] == "engine_crashed"  # type: ignore[union-attr]


@pytest.mark.anyio
@pytest.mark.real_model
@pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_gguf_file_is_opened_too(tmp_path: Path, anyio_backend: str) -> None:
    pytest.importorskip("gguf")
    async with running_hf(tmp_path, MODEL) as (engine, _):
        chunks = await collect(engine, ask("The capital of France is", params={"max_tokens": 3, "temperature": 0.0}))
        assert "Paris" in text_of(chunks)
        assert done_of(chunks).stats.completion_tokens == 3
        assert engine.info.chat_template


@pytest.mark.gpu
def test_on_a_graphics_card_replies_side_by_side_are_what_they_are_alone(tiny: Path, tmp_path: Path) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    from concurrent.futures import ThreadPoolExecutor

    backend = load_here(tiny, tmp_path, device="cuda")
    requests = [ask(f"Number {n}", params={"temperature": 0.0, "max_tokens": 20}) for n in range(8)]
    alone = [text_of(answer(backend, request)) for request in requests]
    with ThreadPoolExecutor(8) as pool:
        together = [text_of(chunks) for chunks in pool.map(lambda one: answer(backend, one), requests)]
    backend.close()
    assert together == alone
    assert backend.info.details["device"].startswith("cuda")


# ── choices ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_context_is_chosen_with_its_reason() -> None:
    assert choose_context(0, 2048).value == 2048
    assert choose_context(0, 131072).value == DEFAULT_CONTEXT
    assert "131,072" in choose_context(0, 131072).why
    assert choose_context(16384, 8192).value == 8192
    assert choose_context(1000, None).value == 1000


def test_the_memory_of_each_device_is_read_as_people_write_it() -> None:
    from loaders.hf.device_map import read_memory

    assert read_memory("0=20GiB, 1: 10gib; cpu=64GB") == {0: "20GiB", 1: "10GiB", "cpu": "64GB"}
    assert read_memory(" ") is None


def test_the_number_type_follows_the_files_and_the_device() -> None:
    import torch

    from loaders.hf.device_map import choose_dtype

    cpu = torch.device("cpu")
    assert choose_dtype("auto", torch.bfloat16, cpu).value == torch.bfloat16
    assert choose_dtype("auto", torch.float16, cpu).value == torch.bfloat16
    assert choose_dtype("auto", torch.float16, torch.device("cuda")).value == torch.float16
    assert choose_dtype("auto", None, cpu).value == torch.float32
    assert choose_dtype("float32", torch.bfloat16, cpu).value == torch.float32
