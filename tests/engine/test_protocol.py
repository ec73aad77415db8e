"""The lines between server and worker."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loaders.base import LoadRequest
from modules.engine import protocol
from modules.messages.parts import AudioPart, FilePart, FunctionCall, ImagePart, TextPart
from modules.types import (
    Done,
    Endpoint,
    EngineInfo,
    Failed,
    GenerationRequest,
    Ledger,
    Message,
    Notice,
    Progress,
    Reasoning,
    Stats,
    Text,
    TokenLogprob,
    ToolCall,
    TopLogprob,
)

TOP = TopLogprob("é", -0.5, (195, 169), 7)
CHUNKS = [
    Text("plain\nwith a newline and 🎉", 3),
    Text("é", 1, (TokenLogprob(TOP, (TOP, TopLogprob("x", -2.0))),)),
    Reasoning("hm", 2),
    ToolCall(1, "c1", "weather", '{"city"', 2),
    Progress("prompt", 5, 10, 3),
    Notice("a_code", "words", "top_k"),
    Ledger(100, 50, 20, 3, 1, 12, False, "why"),
    Stats(prompt_tokens=3, seed=4),
    Done("length", Stats(completion_tokens=9), "###"),
    Failed({"message": "no", "hint": "", "code": "engine_error", "param": None, "status": 500}),
]


@pytest.mark.parametrize("chunk", CHUNKS, ids=lambda chunk: type(chunk).__name__)
def test_every_chunk_comes_back_as_it_was(chunk: object) -> None:
    line = protocol.chunk_line(12, chunk)  # type: ignore[arg-type]
    assert line.count(b"\n") == 1, "a chunk is one line"
    data = protocol.decode(line)
    assert data["id"] == 12
    assert protocol.read_chunk(data) == chunk


def test_a_request_comes_back_as_it_was() -> None:
    for request in (
        GenerationRequest("a", prompt=(1, 2, 3), params={"top_k": 4, "dry_sequence_breakers": ["\n"]}, stop=("x",)),
        GenerationRequest("b", messages=(Message("user", "hi"),), logprobs=2, json_schema={"type": "object"}),
        GenerationRequest(
            "c",
            tools=({"type": "function", "function": {"name": "f"}},),
            tool_choice="required",
            parallel_tool_calls=False,
            messages=(
                Message("developer", "be kind"),
                Message(
                    "user",
                    (TextPart("a"), ImagePart("aGk="), AudioPart("aGk=", "mp3"), FilePart("0" * 64, "a/b", "n")),
                    name="Ann",
                ),
                Message("assistant", reasoning="hm", tool_calls=(FunctionCall("c1", "f", '{"x": 1}'),)),
                Message("tool", "4", tool_call_id="c1", name="f"),
            ),
        ),
        GenerationRequest("d", prompt="a b", images=("aGk=",), image_places=(2,)),
    ):
        assert protocol.read_request(protocol.decode(protocol.generate_line(1, request))) == request


def test_a_load_request_and_its_answer_come_back_as_they_were() -> None:
    load = LoadRequest("m", "/m.gguf", "echo", {"speed": 1.5, "noise": True}, "/scratch")
    assert protocol.read_load(protocol.decode(protocol.load_line(load, "a.b:load"))) == (load, "a.b:load")
    for endpoint in (None, Endpoint("http://127.0.0.1:1", "k", "llama-server")):
        info = EngineInfo("m", "echo", 10, 2, False, endpoint, {"layers": 3})
        assert protocol.read_info(protocol.decode(protocol.encode({"info": info}))["info"]) == info


@given(st.lists(st.binary(max_size=20).map(lambda data: data.replace(b"\n", b"")), max_size=8), st.data())
def test_lines_cut_anywhere_come_out_whole(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines) + b"torn"
    cutter, out, at = protocol.Lines(), [], 0
    while at < len(stream):
        size = data.draw(st.integers(1, 12))
        out += cutter.feed(stream[at : at + size])
        at += size
    assert out == lines, "the torn last line is not given out"


def test_a_line_of_many_pieces_costs_its_length_and_not_its_square() -> None:
    cutter, piece = protocol.Lines(), b"0.123456," * 7000
    began = time.thread_time()
    for _ in range(1000):
        assert cutter.feed(piece) == []
    (line,) = cutter.feed(b"end\nmore")
    assert time.thread_time() - began < 1.5, "a square would take five seconds and more"
    assert len(line) == 1000 * len(piece) + 3
    assert cutter.feed(b"\n") == [b"more"]


@pytest.mark.parametrize("line", [b"", b"nonsense", b"[1]", b'"text"', b"\xff"])
def test_what_is_not_a_line_of_ours_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):
        protocol.decode(line)


def test_an_unknown_kind_of_chunk_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        protocol.read_chunk({"id": 1, "kind": "surprise", "value": {}})
