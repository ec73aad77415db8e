"""Models that see, on a small random one: the pixels count, and are computed once."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from loaders.text.media_mark import MEDIA_MARK
from modules.errors import BadRequest
from modules.types import Message
from tests.engine.making import ask, done_of, text_of
from tests.loaders.hf_folder import hf_folder, needs_folder
from tests.loaders.tiny_models import SIZES, answer, load_here, tokenizer_into
from tests.pictures import looking

__all__ = ["hf_folder"]
pytestmark = [*needs_folder, pytest.mark.timeout(120)]
GREEDY = {"temperature": 0.0, "max_tokens": 12}
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def picture(colour: tuple[int, int, int]) -> str:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, hf_folder: Path) -> Iterator[Any]:
    pytest.importorskip("PIL")
    import torch
    from transformers import (
        AutoTokenizer,
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    folder = tmp_path_factory.mktemp("llava")
    torch.manual_seed(2)
    tokenizer_into(folder, hf_folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14,
        initializer_range=0.5,
    )  # fmt: skip
    text = LlamaConfig(vocab_size=49156, initializer_range=0.3, **SIZES)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=len(tokenizer) - 1)
    config.initializer_range = 0.3
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}), tokenizer,
        patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1, chat_template=TEMPLATE,
    ).save_pretrained(folder)  # fmt: skip
    backend = load_here(folder, tmp_path_factory.mktemp("scratch"), batch_size=16)
    yield backend
    backend.close()


@pytest.mark.cell("images", loader="transformers")
def test_a_picture_is_seen_and_two_pictures_are_told_apart(engine: Any) -> None:
    assert "images" in engine.info.features
    chat = (looking("What colour is it?", picture((255, 0, 0))),)
    prompt = engine.render(chat, {}, False)
    assert prompt.count(MEDIA_MARK) == 1
    assert prompt.endswith("assistant:")
    said = {}
    for name, colour in {"red": (255, 0, 0), "again": (255, 0, 0), "blue": (0, 0, 255)}.items():
        chunks = answer(engine, ask(prompt, images=(picture(colour),), params={**GREEDY, "seed": 1}))
        said[name] = text_of(chunks)
    assert said["red"] == said["again"] != said["blue"]
    assert done_of(chunks).stats.prompt_tokens > len(engine.tokenize(prompt.replace(MEDIA_MARK, ""), True))


def test_requests_with_and_without_pictures_run_side_by_side(engine: Any) -> None:
    requests = [
        ask(f"{MEDIA_MARK} Describe it", images=(picture((255, 0, 0)),), params=GREEDY),
        ask("Words alone", params=GREEDY),
        ask(f"{MEDIA_MARK} Describe it", images=(picture((0, 255, 0)),), params=GREEDY),
    ]
    alone = [text_of(answer(engine, request)) for request in requests]
    with ThreadPoolExecutor(3) as pool:
        assert [text_of(chunks) for chunks in pool.map(lambda one: answer(engine, one), requests)] == alone


def test_the_second_turn_about_the_same_picture_does_not_look_at_it_again(engine: Any) -> None:
    red, blue = picture((250, 0, 0)), picture((0, 0, 250))
    first = f"user: {MEDIA_MARK} What is it? Say it in many words, please, and be exact about it.\nassistant:"
    before = answer(engine, ask(first, images=(red,), params=GREEDY))
    more = first + text_of(before) + "\nuser: And then?\nassistant:"
    after = answer(engine, ask(more, images=(red,), params=GREEDY))
    assert done_of(after).stats.cached_tokens >= done_of(before).stats.prompt_tokens - 1
    fresh = answer(engine, ask(more, images=(red,), params={**GREEDY, "seed": 1}))
    assert text_of(after) == text_of(fresh)
    other = answer(engine, ask(more, images=(blue,), params=GREEDY))
    assert done_of(other).stats.cached_tokens == 0


def test_text_behind_a_picture_is_read_in_pieces_and_a_cancel_does_not_wait_for_the_picture(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths: list[int] = []
    model, long = engine._scheduler._forward.model, f"Look: {MEDIA_MARK} " + "and tell me about it " * 20
    hook = model.register_forward_pre_hook(
        lambda _, args, values: widths.append(values["input_ids"].shape[1]), with_kwargs=True
    )
    request = ask(long, images=(picture((9, 200, 9)),), params={**GREEDY, "seed": 1})
    said = text_of(answer(engine, request))
    assert widths[0] < 40
    assert max(widths[1:]) == 16
    monkeypatch.setattr(engine._scheduler, "_piece", 4096)
    widths.clear()
    assert text_of(answer(engine, request)) == said
    assert widths[0] > 80
    hook.remove()

    stop, seen, text = threading.Event(), [], model.model.language_model.layers[0]
    layers = model.model.vision_tower.get_encoder() if hasattr(model.model.vision_tower, "get_encoder") else None
    first = (layers or model.model.vision_tower.vision_model.encoder).layers[0]
    hooks = [first.register_forward_hook(lambda *_: stop.set()), text.register_forward_hook(lambda *_: seen.append(1))]
    done = done_of(list(engine.generate(ask(long, images=(picture((9, 9, 200)),)), stop.is_set)))
    for hook in hooks:
        hook.remove()
    assert done.reason == "cancelled"
    assert not seen


def test_a_token_for_a_picture_that_somebody_typed_is_no_picture(engine: Any) -> None:
    done_of(answer(engine, ask("Look: <image> nothing", params=GREEDY)))
    rendered = engine.render((Message("user", "Look: <image> nothing"),), {}, False)
    assert MEDIA_MARK not in rendered


def test_what_is_no_picture_is_refused(engine: Any) -> None:
    with pytest.raises(BadRequest):
        answer(engine, ask(f"{MEDIA_MARK}", images=("aGVsbG8=",)))
    with pytest.raises(BadRequest):
        answer(engine, ask("no mark", images=(picture((1, 1, 1)),)))
