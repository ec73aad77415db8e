"""Replies of the Transformers engine side by side, guessed ahead, under adapters: the same text as alone and plain."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from loaders.base import NamedFile
from modules.errors import BadParameter, BadRequest, LoadFailed
from modules.types import Chunk, Done, GenerationRequest, Progress, Text
from tests.engine.making import ask, done_of, failed_of, text_of
from tests.loaders.hf_folder import hf_folder, needs_folder
from tests.loaders.tiny_models import answer, load_here, make_adapter, make_llama

__all__ = ["hf_folder"]
pytestmark = [
    *needs_folder,
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning"),  # PEFT asks Transformers for it
]
GREEDY = {"temperature": 0.0, "max_tokens": 24}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, hf_folder: Path) -> Path:
    return make_llama(tmp_path_factory.mktemp("models") / "tiny", hf_folder)


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> tuple[NamedFile, ...]:
    pytest.importorskip("peft")
    folder = tmp_path_factory.mktemp("adapters")
    made = {name: make_adapter(folder / name, tiny, seed) for seed, name in enumerate(("red", "blue"))}
    return tuple(NamedFile(name, str(path)) for name, path in made.items())


@pytest.fixture(scope="module")
def engine(tiny: Path, adapters: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    backend = load_here(tiny, tmp_path_factory.mktemp("scratch"), {"lora": adapters}, batch_size=32)
    yield backend
    backend.close()


REQUESTS = [
    ask("One and", params=GREEDY),
    ask("The quick brown fox jumps over the lazy dog. " * 9, params=GREEDY),
    ask("Three little", params={**GREEDY, "repetition_penalty": 1.5}),
    ask("Four", params={"seed": 4, "max_tokens": 30, "temperature": 1.2, "top_p": 0.9}),
    ask("Yes or no? " * 4, grammar='root ::= ("yes" | "no")+', params={"seed": 5, "max_tokens": 12}),
    ask("A guided reply", params={**GREEDY, "guidance_scale": 1.8}, negative_prompt="Something else entirely"),
    ask("Seven", params={"seed": 7, "max_tokens": 9, "mirostat_mode": "2"}),
    ask("An adapted reply", params=GREEDY, lora={"red": 1.0}),
]


def test_eight_different_requests_at_once_give_what_each_gives_alone(engine: Any) -> None:
    alone = [answer(engine, request) for request in REQUESTS]
    calls = engine._scheduler._forward.calls
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda request: answer(engine, request), REQUESTS))
    assert [text_of(chunks) for chunks in together] == [text_of(chunks) for chunks in alone]
    assert [done_of(chunks).stats.completion_tokens for chunks in together] == [
        done_of(chunks).stats.completion_tokens for chunks in alone
    ]
    tokens = sum(done_of(chunks).stats.completion_tokens for chunks in together)
    assert engine._scheduler._forward.calls - calls < 0.8 * tokens, "each was computed for itself"


def test_requests_that_come_and_go_do_not_disturb_a_long_one(engine: Any) -> None:
    long = ask("A long one", params={"temperature": 0.0, "max_tokens": 120, "ban_eos_token": True})
    alone = text_of(answer(engine, long))
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(answer, engine, long)
        others = [
            pool.submit(answer, engine, ask("word " * (3 * n + 1), params={"max_tokens": 1 + n})) for n in range(24)
        ]
        for other in others:
            done_of(other.result())
        assert text_of(first.result()) == alone


def test_the_second_turn_computes_only_what_is_new_also_after_others_with_the_same_beginning(engine: Any) -> None:
    system = "You are a patient teacher who likes to explain. " * 12
    first = ask(system + "What is a lighthouse?", params=GREEDY)
    before = answer(engine, first)
    for number in range(3):
        other = done_of(answer(engine, ask(f"{system}What is {number} and {number}?", params=GREEDY))).stats
        assert other.cached_tokens > 90, "the beginning is shared"
    second = ask(str(first.prompt) + text_of(before) + " And then", params=GREEDY)
    after = done_of(answer(engine, second)).stats
    assert after.cached_tokens >= done_of(before).stats.prompt_tokens
    assert after.prompt_tokens - after.cached_tokens < 12
    fresh = answer(engine, GenerationRequest("x", prompt=second.prompt, params={**GREEDY, "seed": 1}))
    assert done_of(fresh).stats.cached_tokens == 0
    assert text_of(fresh) == text_of(answer(engine, second))


def test_a_cancel_is_seen_before_the_next_token(engine: Any) -> None:
    stop, seen = threading.Event(), 0
    request = ask("On and on", params={"max_tokens": 400, "ban_eos_token": True})
    chunks: list[Chunk] = []
    for chunk in engine.generate(request, stop.is_set):
        chunks.append(chunk)
        seen += isinstance(chunk, Text)
        if seen == 5:
            stop.set()
    done = done_of(chunks)
    assert done.reason == "cancelled"
    assert done.stats.completion_tokens < 60  # the model writes on while this thread reads


def test_a_cancel_is_seen_within_a_piece_of_the_prompt(engine: Any) -> None:
    stop, chunks = threading.Event(), []
    for chunk in engine.generate(ask("never read so far " * 90), stop.is_set):
        chunks.append(chunk)
        if isinstance(chunk, Progress):
            stop.set()
    steps = [chunk for chunk in chunks if isinstance(chunk, Progress)]
    assert steps[-1].done < steps[-1].total
    assert done_of(chunks) == Done("cancelled", done_of(chunks).stats)
    assert done_of(chunks).stats.completion_tokens == 0


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_a_cancel_ends_a_piece_within_a_layer_and_leaves_nothing_behind(tiny: Path, tmp_path: Path, cache: str) -> None:
    backend = load_here(tiny, tmp_path, cache=cache, context=256)
    request, stop, second = ask("All of it is one piece. " * 6, params=GREEDY), threading.Event(), []
    whole = text_of(answer(backend, ask(str(request.prompt), params={**GREEDY, "seed": 1})))
    first, last = backend._scheduler._forward.model.model.layers
    hooks = [
        first.register_forward_hook(lambda *_: stop.set()), last.register_forward_hook(lambda *_: second.append(1))
    ]  # fmt: skip
    done = done_of(list(backend.generate(ask("Another prompt altogether. " * 6), stop.is_set)))
    for hook in hooks:
        hook.remove()
    assert (done.reason, done.stats.completion_tokens) == ("cancelled", 0)
    assert not second, "the next layer was computed all the same"
    assert not first._forward_pre_hooks
    assert text_of(answer(backend, request)) == whole
    backend.close()


def test_a_draft_model_reads_a_prompt_in_pieces_and_stops_within_a_layer(
    engine: Any, tiny: Path, tmp_path: Path
) -> None:
    quick = load_here(tiny, tmp_path, {"draft_model": (NamedFile("draft", str(tiny)),)}, batch_size=32)
    widths: list[int] = []
    draft = quick._scheduler._guesser._forward.model
    hook = draft.model.register_forward_pre_hook(
        lambda _, args, values: widths.append(values["input_ids"].shape[1]), with_kwargs=True
    )
    request = ask("A long way to go. " * 20, params={**GREEDY, "ban_eos_token": True}, lora={})
    assert text_of(answer(quick, request)) == text_of(answer(engine, request))
    hook.remove()
    assert sum(widths) > 100, "the draft model read the prompt"
    assert max(widths) <= 32
    assert min(widths) == 1, "it has caught up"

    stop, layers, second = threading.Event(), draft.model.layers, []
    layers[0].register_forward_hook(lambda *_: stop.set())
    layers[1].register_forward_hook(lambda *_: second.append(1))
    done = done_of(list(quick.generate(ask("Quite another way. " * 20, lora={}), stop.is_set)))
    assert done.reason == "cancelled"
    assert not second
    quick.close()


@pytest.mark.cell("lora adapters", loader="transformers")
def test_adapters_are_switched_for_each_request_and_off_is_the_model_itself(
    engine: Any, tiny: Path, tmp_path: Path
) -> None:
    said = {
        name: text_of(answer(engine, ask("The weather", params=GREEDY, lora=scales)))
        for name, scales in {
            "none": {}, "red": {"red": 1.0}, "blue": {"blue": 1.0}, "both": {"red": 1.0, "blue": 1.0},
            "weak": {"red": 0.0}, "loaded": None,
        }.items()
    }  # fmt: skip
    plain = load_here(tiny, tmp_path)
    base = text_of(answer(plain, ask("The weather", params=GREEDY)))
    plain.close()
    assert said["none"] == said["weak"] == base
    assert said["loaded"] == said["both"]
    assert len({said["none"], said["red"], said["blue"], said["both"]}) == 4
    assert engine.info.adapters == {"red": 1.0, "blue": 1.0}


def test_half_an_adapter_is_not_a_whole_one(engine: Any) -> None:
    whole, half = (
        text_of(answer(engine, ask("Strength", params=GREEDY, lora={"red": scale}))) for scale in (1.0, 0.25)
    )
    assert whole != half


def test_what_was_computed_under_an_adapter_is_not_used_without_it(engine: Any) -> None:
    prompt = "A prompt long enough to be kept for the next turn, whatever that may be. " * 4
    first = text_of(answer(engine, ask(prompt, params=GREEDY, lora={"red": 1.0})))
    plain = answer(engine, ask(prompt, params=GREEDY, lora={}))
    assert done_of(plain).stats.cached_tokens == 0
    assert text_of(plain) != first


def test_an_adapter_that_is_not_loaded_is_refused_with_those_that_are(engine: Any) -> None:
    with pytest.raises(BadParameter) as caught:
        answer(engine, ask("x", lora={"green": 1.0}))
    assert "red, blue" in caught.value.hint


@pytest.mark.parametrize("params", [GREEDY, {"seed": 3, "max_tokens": 40, "temperature": 0.8}], ids=["greedy", "drawn"])
@pytest.mark.cell("speculative decoding", loader="transformers")
@pytest.mark.parametrize("way", ["prompt lookup", "draft model", "wrong draft model"])
def test_guessing_ahead_gives_the_same_text_in_fewer_calls(
    engine: Any, tiny: Path, hf_folder: Path, tmp_path: Path, way: str, params: dict[str, Any]
) -> None:
    files, settings = {}, {"draft_tokens": 4}
    if way == "prompt lookup":
        settings["prompt_lookup"] = True
    else:
        draft = tiny if way == "draft model" else make_llama(tmp_path / "other", hf_folder, seed=9)
        files = {"draft_model": (NamedFile("draft", str(draft)),)}
    request = ask("a b c a b c a b c a b", params={**params, "max_tokens": 40, "ban_eos_token": True}, lora={})
    quick = load_here(tiny, tmp_path, files, **settings)
    calls = quick._scheduler._forward.calls
    guessed = answer(quick, request)
    calls = quick._scheduler._forward.calls - calls
    quick.close()
    assert text_of(guessed) == text_of(answer(engine, request))
    assert done_of(guessed).stats.completion_tokens == 40
    assert "speculative decoding" in quick.info.features
    if way == "draft model" and params is GREEDY:
        assert calls < 20, "nothing was guessed right"


def test_guessed_tokens_keep_to_a_grammar(engine: Any, tiny: Path, tmp_path: Path) -> None:
    quick = load_here(tiny, tmp_path, {"draft_model": (NamedFile("draft", str(tiny)),)})
    request = ask("Letters:", grammar='root ::= ("ab" | "ba" | " ")+', params={"max_tokens": 20, "seed": 2}, lora={})
    guessed = text_of(answer(quick, request))
    quick.close()
    assert re.fullmatch("(ab|ba| )+[ab]?", guessed)
    assert guessed == text_of(answer(engine, request))


def test_json_is_not_filled_up_with_blank_lines(engine: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    for seed in range(6):
        said = text_of(answer(engine, ask("{", json_schema=schema, params={"seed": seed, "max_tokens": 30}, lora={})))
        assert "\n\n\n" not in said
        assert "\r" not in said
    with pytest.raises(BadRequest):
        answer(engine, ask("{", json_schema=schema, grammar='root ::= "x"'))


@pytest.mark.cell("negative prompt", loader="transformers")
def test_guidance_moves_away_from_the_negative_prompt(engine: Any) -> None:
    prompt, params = "The colour is", {**GREEDY, "guidance_scale": 1.5}
    plain = text_of(answer(engine, ask(prompt, params=GREEDY, lora={})))
    same = answer(engine, ask(prompt, params=params, negative_prompt=prompt, lora={}))
    away = answer(engine, ask(prompt, params=params, negative_prompt="Quite another beginning", lora={}))
    assert text_of(same) == plain, "away from itself is nowhere"
    assert text_of(away) != plain
    assert done_of(away).stats.prompt_tokens == done_of(same).stats.prompt_tokens


def test_a_static_cache_gives_the_same_text(engine: Any, tiny: Path, tmp_path: Path) -> None:
    static = load_here(tiny, tmp_path, cache="static", context=256)
    requests = [ask("Standing still", params=GREEDY, lora={}), ask("And running", params=GREEDY, lora={})]
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda request: text_of(answer(static, request)), requests))
    static.close()
    assert said == [text_of(answer(engine, request)) for request in requests]
    assert static.info.details["together"] is False


def test_a_sampler_that_fails_ends_its_own_reply_only(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from loaders.torch_sampling.chain import Sampler

    whole, real = text_of(answer(engine, REQUESTS[3])), Sampler.pick

    def failing(self: Sampler, logits: Any) -> Any:
        if self.seed == 13:
            raise RuntimeError("as it was told to")
        return real(self, logits)

    monkeypatch.setattr(Sampler, "pick", failing)
    with ThreadPoolExecutor(2) as pool:
        good = pool.submit(answer, engine, REQUESTS[3])
        bad = pool.submit(answer, engine, ask("x", params={"seed": 13, "max_tokens": 20}))
        assert "as it was told to" in failed_of(bad.result()).error["message"]
        assert text_of(good.result()) == whole


def test_running_out_of_memory_is_told_and_survived(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    forward = engine._scheduler._forward
    real, left = type(forward).__call__, [2]

    def short(self: Any, *arguments: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, *arguments)

    answer(engine, ask("Something that is kept " * 10, params=GREEDY))  # given up at the first shortage
    monkeypatch.setattr(type(forward), "__call__", short)
    error = failed_of(answer(engine, ask("Hello", params=GREEDY))).error
    assert error["code"] == "out_of_memory"
    assert error["hint"]
    assert done_of(answer(engine, ask("Hello", params=GREEDY))).stats.completion_tokens


def test_a_draft_model_with_another_vocabulary_is_refused(tiny: Path, hf_folder: Path, tmp_path: Path) -> None:
    other = make_llama(tmp_path / "draft", hf_folder)
    file = other / "tokenizer.json"
    tokens = json.loads(file.read_text())
    tokens["added_tokens"].append({
        "id": 49152, "content": "lighthouse", "single_word": False, "lstrip": False, "rstrip": False,
        "normalized": False, "special": False,
    })  # fmt: skip
    file.write_text(json.dumps(tokens))
    with pytest.raises(LoadFailed, match="another vocabulary"):
        load_here(tiny, tmp_path, {"draft_model": (NamedFile("draft", str(other)),)})
