"""/v1/embeddings and /v1/rerank with a real model: the starter model, loaded for it."""

from __future__ import annotations

import openai
import pytest

from tests.conftest import LiveServer
from tests.extensions.asking import SMOL, user

CAT, RUG, LAW = "The cat sat on the mat.", "A cat lies on a rug.", "Income tax law of 1986"


def load(server: LiveServer, **settings: str) -> None:
    body = {"name": SMOL, "settings": settings}
    answer = server.http.post("/api/models/load?wait=1", json=body, timeout=120)
    assert answer.status_code == 200, answer.text


@pytest.mark.real_model
def test_a_real_model_makes_vectors_in_which_alike_texts_are_near(real: tuple[LiveServer, openai.OpenAI]) -> None:
    server, client = real
    load(server, mode="embeddings", pooling="mean")
    made = client.embeddings.create(model=SMOL, input=[CAT, RUG, LAW])
    cat, rug, law = (one.embedding for one in made.data)

    def alike(one: list[float], other: list[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    assert alike(cat, cat) == pytest.approx(1, abs=1e-4)
    assert alike(cat, rug) > alike(cat, law)
    assert made.usage.total_tokens > 15
    assert len(client.embeddings.create(model=SMOL, input=CAT, dimensions=64).data[0].embedding) == 64
    one_by_one = client.embeddings.create(model=SMOL, input=RUG).data[0].embedding
    assert alike(one_by_one, rug) == pytest.approx(1, abs=1e-2)
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=SMOL, input="word " * 30_000)
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.UnprocessableEntityError):
        client.chat.completions.create(model=SMOL, messages=user("hi"))


@pytest.mark.real_model
def test_a_real_model_gives_each_document_a_score_only_when_it_is_loaded_for_that(
    real: tuple[LiveServer, openai.OpenAI],
) -> None:
    server, _ = real
    body = {"model": SMOL, "query": "cat", "documents": [CAT, RUG, LAW], "return_documents": True}
    load(server, mode="text")
    refused = server.http.post("/v1/rerank", json=body)
    assert refused.status_code == 422
    assert "mode = rerank" in refused.json()["error"]["message"]
    load(server, mode="rerank")
    answer = server.call("POST", "/v1/rerank", body)
    scores = [one["relevance_score"] for one in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert sorted(one["document"]["text"] for one in answer["results"]) == sorted([CAT, RUG, LAW])
