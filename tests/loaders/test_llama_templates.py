"""llama.cpp's prompts are ours, and control tokens that mark thinking reach the stream parser."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from loaders.llama.prompt_template import ServerTemplate
from loaders.text.template import ChatTemplate
from modules.drivers.llama_request import Prompting, completion_body
from modules.errors import BadRequest
from modules.formats.gguf import read_header
from modules.generation.stream_parser import StreamParser
from modules.messages.reasoning import REASONING_FORMATS
from modules.types import Message, Reasoning, Text
from tests.engine.making import MODEL, ask, collect
from tests.loaders.llama_making import loaded_with

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(200)]
needs_model = [
    pytest.mark.real_model,
    pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded"),
]
MARKS = {
    3: "[THINK]", 4: "[/THINK]", 5: "<|channel|>", 6: "<|start|>", 7: "<|message|>", 8: "<|end|>",
    11: "<|START_THINKING|>", 12: "<|END_THINKING|>", 13: "<think>", 14: "</think>",
}  # fmt: skip
"""Control tokens of the starter model by number, renamed: they stay control tokens, as in Magistral's files."""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


def with_marks(folder: Path) -> Path:
    """The starter model with some of its control tokens renamed to marks of thinking."""
    gguf = pytest.importorskip("gguf", reason="writing a model file needs the package gguf")
    reader = gguf.GGUFReader(MODEL)
    path = folder / "marks.gguf"
    writer = gguf.GGUFWriter(path, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        value: Any = field.contents()
        if key == "tokenizer.ggml.tokens":
            value = [MARKS.get(number, token) for number, token in enumerate(value)]
        kind, sub = field.types[0], field.types[-1]
        writer.add_key_value(key, value, kind, sub_type=sub if kind == gguf.GGUFValueType.ARRAY else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_shape=tensor.data.shape, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


class TestRealModel:
    pytestmark = needs_model

    async def test_control_tokens_split_the_thinking_off_and_prompts_are_our_own(self, tmp_path: Path) -> None:
        path = with_marks(tmp_path)
        async with loaded_with(tmp_path, path, context=512) as (engine, _):
            for first, last in ((3, 4), (13, 14), (11, 12)):
                grammar = f'root ::= <[{first}]> "let me think" <[{last}]> "The answer"'
                request = ask("q", grammar=grammar, params={"max_tokens": 40, "temperature": 0.0})
                parser = StreamParser((), REASONING_FORMATS)
                chunks = await collect(engine, dataclasses.replace(request, keep_marks=True))
                out = [one for chunk in chunks if isinstance(chunk, Text) for one in parser.feed(chunk)]
                out += parser.flush()
                assert "".join(one.text for one in out if isinstance(one, Reasoning)) == "let me think"
                assert "".join(one.text for one in out if isinstance(one, Text)) == "The answer"
                raw = await collect(engine, request)
                assert "".join(one.text for one in raw if isinstance(one, Text)) == "let me thinkThe answer"
            chat = (Message("user", "Hi"), Message("assistant", ""))
            rendered = (await engine.render(chat, {}, True)).text
            assert rendered == ChatTemplate(read_header(path).chat_template).render(chat, {}, True)
            assert rendered.endswith("<|im_start|>assistant\n"), "an empty reply keeps the assistant's header"
            assert engine.info.template.system_role

    def test_llama_cpp_python_shows_marks_of_thinking_and_no_other_control_tokens(self, tmp_path: Path) -> None:
        llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
        from loaders.llama_python.vocabulary import Vocabulary

        params = llama_cpp.llama_model_default_params()
        params.vocab_only = True
        model = llama_cpp.llama_model_load_from_file(str(with_marks(tmp_path)).encode(), params)
        words = Vocabulary(model)
        pieces = [words.piece(token) for token in (3, 4, 13, 8, 1)]
        llama_cpp.llama_model_free(model)
        assert pieces == [b"[THINK]", b"[/THINK]", b"<think>", b"", b""], "what ends a reply is no text"


def test_only_chats_ask_for_marks() -> None:
    marks = Prompting(marks=("[THINK]",))
    chat = dataclasses.replace(ask("q"), keep_marks=True)
    assert completion_body(chat, marks)["preserved_tokens"] == ["[THINK]"]
    assert "preserved_tokens" not in completion_body(ask("q"), marks)
    assert "preserved_tokens" not in completion_body(chat, Prompting())


def test_a_token_the_server_adds_itself_is_not_there_twice() -> None:
    source = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"
    props = {"bos_token": "<s>", "eos_token": "</s>"}
    chat = (Message("user", "<s>Hi"),)
    assert ServerTemplate(source, props, "<s>").render(chat, {}, False) == "<s>Hi"
    assert ServerTemplate(source, props, "").render(chat, {}, False) == "<s><s>Hi"


def test_a_template_that_is_none_is_an_error_of_the_chat_not_of_the_load() -> None:
    template = ServerTemplate("{% for %}", {}, "")
    with pytest.raises(BadRequest, match="chat template"):
        template.render((Message("user", "Hi"),), {}, False)
