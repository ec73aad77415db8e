"""Token probabilities in OpenAI's shapes."""

from __future__ import annotations

import orjson
import pytest

from extensions.openai.logprobs import NEVER, CompletionLogprobs, chat_logprobs
from modules.engine import protocol
from modules.types import Text, TokenLogprob, TopLogprob


@pytest.mark.parametrize("through_json", [False, True], ids=["as it is", "after JSON made it null"])
def test_a_token_that_cannot_come_has_openais_stand_in(through_json: bool) -> None:
    never = TopLogprob("x", float("-inf"), (120,), 7)
    chunk = Text("x", 1, (TokenLogprob(never, (never,)),))
    if through_json:
        read = protocol.read_chunk(protocol.decode(protocol.chunk_line(1, chunk)))
        assert isinstance(read, Text)
        chunk = read
    entry = chat_logprobs(chunk.logprobs)["content"][0]
    assert entry["logprob"] == entry["top_logprobs"][0]["logprob"] == NEVER
    said = CompletionLogprobs().of("x", chunk.logprobs)
    assert (said["token_logprobs"], said["top_logprobs"]) == ([NEVER], [{"x": NEVER}])
    assert b"null" not in orjson.dumps(said)
