"""What waits for a reader that does not read."""

from __future__ import annotations

import asyncio

import pytest

from modules.engine.chunk_buffer import MOST_JOINED, MOST_WAITING, ChunkBuffer
from modules.types import Chunk, Done, Failed, Notice, Progress, Text, TokenLogprob, TopLogprob

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
MARK = TokenLogprob(TopLogprob("a", -1.0), tuple(TopLogprob("b", -2.0) for _ in range(9)))


async def all_of(backlog: ChunkBuffer) -> list[Chunk]:
    """What waits, in its order."""
    out = []
    while backlog:
        out.append(await backlog.take())
    return out


async def test_a_reader_that_pauses_finds_all_of_the_text_in_few_pieces() -> None:
    backlog = ChunkBuffer()
    count = 50 * MOST_JOINED
    for number in range(count):
        assert backlog.put(Text(f"{number} ")), "text alone has no limit"
    backlog.put(Done("stop"))
    found = await all_of(backlog)
    assert len(found) == 51
    texts = [chunk for chunk in found if isinstance(chunk, Text)]
    assert "".join(piece.text for piece in texts) == "".join(f"{number} " for number in range(count))
    assert sum(piece.tokens for piece in texts) == count
    assert found[-1] == Done("stop")


async def test_the_order_stays_and_every_log_probability_comes_along() -> None:
    backlog = ChunkBuffer()
    notice = Notice("sampler_ignored", "so it is")
    for chunk in (Text("a", 1, (MARK,)), Text("b"), notice, Text("c", 2), Text("d", 1, (MARK, MARK))):
        backlog.put(chunk)
    assert await all_of(backlog) == [Text("ab", 2, (MARK,)), notice, Text("cd", 3, (MARK, MARK))]


async def test_of_steps_of_the_same_work_the_latest_is_kept() -> None:
    backlog = ChunkBuffer()
    for chunk in (Progress("queued", 0, 1), *(Progress("prompt", done, 900) for done in range(900)), Text("a"),
                  Progress("prompt", 5, 5)):  # fmt: skip
        backlog.put(chunk)
    expected = [Progress("queued", 0, 1), Progress("prompt", 899, 900), Text("a"), Progress("prompt", 5, 5)]
    assert await all_of(backlog) == expected


async def test_too_many_log_probabilities_end_the_reply_with_a_reason_behind_what_was_there() -> None:
    backlog = ChunkBuffer()
    room = MOST_WAITING // 10
    answers = [backlog.put(Text("a", 1, (MARK,))) for _ in range(room + 500)]
    assert answers.index(False) == room
    assert answers.count(False) == 1, "the engine is told once"
    assert backlog.put(Done("cancelled"))
    *texts, last = await all_of(backlog)
    assert "".join(piece.text for piece in texts if isinstance(piece, Text)) == "a" * (room + 1)
    assert isinstance(last, Failed)
    assert last.error["code"] == "reader_too_slow"


async def test_a_reader_that_keeps_up_may_have_any_number_of_log_probabilities() -> None:
    backlog = ChunkBuffer()
    for _ in range(MOST_WAITING // 10 + 500):
        assert backlog.put(Text("a", 1, (MARK,)))
        assert await backlog.take() == Text("a", 1, (MARK,))


async def test_a_reader_that_waits_is_woken() -> None:
    backlog = ChunkBuffer()
    reading = asyncio.create_task(backlog.take())
    await asyncio.sleep(0)
    backlog.put(Text("a"))
    assert await asyncio.wait_for(reading, 20) == Text("a")
    left = asyncio.create_task(backlog.take())
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    backlog.put(Text("b"))
    assert await backlog.take() == Text("b"), "a reader that left takes nothing along"
