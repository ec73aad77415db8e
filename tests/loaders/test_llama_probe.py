"""What a llama.cpp server of others is found to be able to do, and what is said where it cannot or does not tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loaders.served.llama_adapters import adapters_of
from modules.formats.endpoint import DEFAULT_PARALLEL
from modules.types import EngineInfo
from tests.loaders.test_openai_probe import Routes, cards, loaded, serving

WORDS = "This server does not support embeddings. Start it with `--embeddings`"
NO = (501, {"error": {"code": 501, "message": WORDS, "type": "not_supported_error"}})
VECTOR = {"data": [{"index": 0, "embedding": [0.6, 0.8]}]}
SCORE = {"results": [{"index": 0, "relevance_score": -0.5}]}
TEXT = {"content": "b", "stop": True}
WRITING = {"parallel", "logprobs", "grammar", "json schema", "continue a reply"}


def adapter(number: int, path: str, scale: float = 1.0) -> dict[str, Any]:
    return {"id": number, "path": path, "scale": scale, "task_name": "", "prompt_prefix": ""}


def server(lora: Any = (), **posted: Any) -> Routes:
    """A llama.cpp server's routes; `lora` is its list of adapters, `posted` its answers by the end of their route."""
    routes = {"rerank": NO, "embeddings": NO, "completion": TEXT, **posted}
    names = {"rerank": "/v1/rerank", "embeddings": "/v1/embeddings", "completion": "/completion"}
    props = {"default_generation_settings": {"n_ctx": 2048, "params": {"lora": []}}, "total_slots": 2,
             "chat_template": "x", "build_info": "b11549"}  # fmt: skip
    return {**cards("/models/x.gguf", owner="llamacpp"), "/props": props, "/lora-adapters": list(lora),
            **{f"POST {names[name]}": value for name, value in routes.items()}}  # fmt: skip


def found(folder: Path, routes: Routes, settings: dict[str, Any] | None = None, **values: Any) -> EngineInfo:
    with serving(routes) as url:
        return loaded(folder, settings, url=url, **values)


def test_a_server_for_text_is_said_to_have_nothing_else_in_its_own_words(tmp_path: Path) -> None:
    info = found(tmp_path, server())
    assert set(info.features or ()) == WRITING | {"prompt cache"}
    assert info.details["notes"].count(WORDS) == 2
    for words in ("No adapters", "No embeddings", "No ranking"):
        assert words in info.details["notes"]


@pytest.mark.parametrize(
    ("posted", "features"),
    [
        ({"embeddings": VECTOR, "completion": (500, {"error": {"message": "no logits"}})}, {"embeddings"}),
        ({"embeddings": VECTOR}, {"embeddings", "prompt cache"} | WRITING),
        ({"rerank": SCORE, "embeddings": VECTOR, "completion": 501}, {"rerank"}),
        ({"rerank": SCORE, "embeddings": VECTOR}, {"rerank", "prompt cache"} | WRITING),
    ],
    ids=["vectors", "vectors and text", "ranks", "ranks and writes"],
)
def test_what_it_gives_when_asked_is_what_it_offers(tmp_path: Path, posted: dict[str, Any], features: set[str]) -> None:
    info = found(tmp_path, server(**posted))
    assert set(info.features or ()) == features
    notes = info.details["notes"]
    assert ("It writes no text" in notes) is ("logprobs" not in features)
    assert ("its vectors are no embeddings" in notes) is ("rerank" in features), "seen: they are rubbish"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"data": [{"index": 0, "embedding": [[0.1, 0.2], [0.3, 0.4]]}]}, "one vector for each token"),
        ({"data": [{"index": 0, "embedding": [0.0, 0.0]}]}, "no direction"),
        ({"data": [{"index": 0, "embedding": [None, 1.0]}]}, "no direction"),
        ({"data": []}, "no vector"), ({}, "no vector"), ([1], "not understood"), (b"<html>", "not JSON"),
        ({"data": [{"index": 0, "embedding": [10**400]}]}, "no direction"), (b"[" * 200_000, "not JSON"),
        ((501, b"[" * 200_000), "HTTP 501"),
        ((400, {"error": {"message": "Pooling type 'none' is not OAI compatible."}}), "Pooling type 'none'"),
        (404, "HTTP 404"), (429, "could not be found out (it has too much to do)"), (401, "could not be found out"),
    ],
)  # fmt: skip
def test_embeddings_that_are_none_are_not_offered_and_it_is_said_why(tmp_path: Path, answer: Any, words: str) -> None:
    info = found(tmp_path, server(embeddings=answer))
    assert "embeddings" not in (info.features or ())
    assert words in info.details["notes"]


@pytest.mark.parametrize("answer", [{"results": []}, {"results": [{"index": 0}]}, [], 404, 503,
                                    {"results": [{"index": 0, "relevance_score": 10**400}]}])  # fmt: skip
def test_scores_that_are_none_are_not_offered(tmp_path: Path, answer: Any) -> None:
    info = found(tmp_path, server(rerank=answer))
    assert "rerank" not in (info.features or ())
    assert "No ranking" in info.details["notes"]


def test_adapters_are_named_by_their_files_with_the_strengths_they_have(tmp_path: Path) -> None:
    info = found(tmp_path, server([adapter(1, "C:\\a\\two.gguf", 0.5), adapter(0, "/a/b/one.v2.gguf")]))
    assert info.adapters == {"one.v2": 1.0, "two": 0.5}
    assert list(info.adapters) == ["one.v2", "two"], "in the order of the server's numbers"
    assert set(info.features or ()) == WRITING | {"lora adapters"}, "its cache does not tell adapters apart"
    assert "one.v2 (1), two (0.5)" in info.details["notes"]
    assert "computed anew" in info.details["notes"]


def test_adapters_that_are_to_stay_leave_the_servers_cache_in_use(tmp_path: Path) -> None:
    info = found(tmp_path, server([adapter(0, "/one.gguf")]), {"adapters": False})
    assert (info.adapters, "lora adapters" in (info.features or ())) == ({}, False)
    assert "prompt cache" in (info.features or ())
    assert "stay as the server has them" in info.details["notes"]


def test_a_build_that_takes_no_adapters_by_request_is_not_offered_them(tmp_path: Path) -> None:
    """Older servers, and some made of them, pass over what a request says of adapters without a word."""
    routes = server([adapter(0, "/one.gguf")])
    routes["/props"]["default_generation_settings"] = {"n_ctx": 2048}
    info = found(tmp_path, routes)
    assert info.adapters == {}
    assert "this build takes none by request" in info.details["notes"]


@pytest.mark.parametrize("listed", [404, 401, {"error": 1}, [{"id": 0}], [adapter(3, "/a.gguf")], b"<html>",
                                    [adapter(0, "/a.gguf", 10**400)]])  # fmt: skip
def test_a_list_of_adapters_that_is_none_is_said(tmp_path: Path, listed: Any) -> None:
    info = found(tmp_path, {**server(), "/lora-adapters": listed})
    assert info.adapters == {}
    assert "No adapters" in info.details["notes"]
    assert "started without any" not in info.details["notes"]


@pytest.mark.parametrize(
    "props",
    [
        {"default_generation_settings": [1], "total_slots": -4, "modalities": ["vision"]},
        {"default_generation_settings": {"n_ctx": -1, "params": 3}, "total_slots": True, "modalities": "all"},
        {"default_generation_settings": "x", "total_slots": "many", "modalities": 1},
    ],
    ids=["a list", "numbers", "words"],
)
def test_what_is_told_in_another_form_than_expected_is_not_told(tmp_path: Path, props: dict[str, Any]) -> None:
    info = found(tmp_path, {**server([adapter(0, "/one.gguf")]), "/props": props})
    assert info.slots == DEFAULT_PARALLEL
    assert info.context == 0, "it is not known"
    assert set(info.features or ()) == WRITING | {"prompt cache"}


def test_a_server_for_vectors_takes_no_adapters(tmp_path: Path) -> None:
    info = found(tmp_path, server([adapter(0, "/one.gguf")], embeddings=VECTOR, completion=501))
    assert (info.features, info.adapters) == (("embeddings",), {})


def test_adapters_of_the_same_name_are_told_apart() -> None:
    rows = [adapter(0, "/a/x.gguf"), adapter(1, "/b/x.gguf"), adapter(2, ""), adapter(3, "/c/y\n\x1b[1m.gguf")]
    assert list(adapters_of(rows)) == ["x#0", "x#1", "adapter", "y[1m"]
    with pytest.raises(ValueError, match="same name"):
        adapters_of([*rows[:2], adapter(2, "/x#0.gguf")])


def test_a_key_the_server_repeats_is_not_in_the_notes(tmp_path: Path) -> None:
    answer = (501, {"error": {"message": "not for s3cret-key and h3ader-value"}})
    with serving(server(rerank=answer), key="s3cret-key") as url:
        info = loaded(tmp_path, url=url, key="s3cret-key", headers={"X-Team": "h3ader-value"})
    assert "not for … and …" in info.details["notes"]
