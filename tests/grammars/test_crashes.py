"""An engine that crashed under a grammar: its sender is told, it is refused from then on, and nobody else pays."""

from __future__ import annotations

from typing import Any

import pytest

from modules.errors import BadRequest, EngineCrashed
from modules.generation.pipeline import Generation
from modules.grammars.crashes import GrammarCrashes
from modules.types import Chunk, Done, Failed, GenerationRequest, Text
from tests.engine_stand_in import Lender, StandIn

pytestmark = pytest.mark.anyio
CRASH = Failed(EngineCrashed("It is gone.").as_dict())
GRAMMAR = 'root ::= "a"'


def ask(**more: Any) -> GenerationRequest:
    return GenerationRequest("r", prompt="x", **more)


async def test_a_grammar_that_crashed_the_engine_is_a_400_at_once_and_from_then_on() -> None:
    lender = Lender(StandIn([CRASH]))
    pipeline = Generation(lender)
    for _ in range(2):
        with pytest.raises(BadRequest) as caught:
            await pipeline.run(ask(grammar=GRAMMAR))
        assert (caught.value.code, caught.value.status) == ("grammar_crashed_engine", 400)
    assert lender.lent == 1, "the second time no engine is asked"
    assert lender.excused == ["stand-in"]


@pytest.mark.parametrize(
    ("chunks", "more"), [([Text("a"), CRASH], {"grammar": GRAMMAR}), ([CRASH], {})], ids=["later", "no grammar"]
)
async def test_a_crash_after_the_first_token_or_without_a_grammar_is_the_engines(
    chunks: list[Chunk], more: dict[str, Any]
) -> None:
    lender = Lender(StandIn(chunks))
    pipeline = Generation(lender)
    for _ in range(2):
        with pytest.raises(EngineCrashed):
            await pipeline.run(ask(**more))
    assert lender.excused == []


async def test_another_grammar_is_not_touched() -> None:
    lender = Lender(StandIn([CRASH]))
    pipeline = Generation(lender)
    with pytest.raises(BadRequest):
        await pipeline.run(ask(grammar=GRAMMAR))
    lender.engine = StandIn([Text("b"), Done("stop")])
    assert (await pipeline.run(ask(grammar='root ::= "b"'))).text == "b"


def test_of_two_that_had_begun_the_one_that_crashes_it_again_is_refused() -> None:
    crashes = GrammarCrashes()
    bad, good = ask(grammar=GRAMMAR), ask(json_schema={})
    for run, request in ((1, bad), (2, good)):
        crashes.begin(run, request)
    assert crashes.to_blame(1, CRASH)
    assert crashes.to_blame(2, CRASH)
    for run, request in ((1, bad), (2, good)):
        crashes.end(run)
        crashes.check(request)
    crashes.begin(3, bad)
    assert crashes.to_blame(3, CRASH)
    crashes.check(good)
    with pytest.raises(BadRequest):
        crashes.check(bad)
