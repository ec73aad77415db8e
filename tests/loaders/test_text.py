"""Text in and out for engines that leave it to us: whole characters, chat templates."""

from __future__ import annotations

import pytest

from loaders.text.media_mark import MEDIA_MARK
from loaders.text.template import ChatTemplate
from loaders.text.utf8_stream import TextPieces
from modules.errors import BadRequest
from modules.messages.parts import FunctionCall
from modules.types import Message
from tests.pictures import looking

CHAT = (Message("system", "Be brief."), Message("user", "Hi"))
PLAIN = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</{{ m.role }}>{% endfor %}" \
        "{% if add_generation_prompt %}<assistant>{% endif %}"  # fmt: skip


def test_a_character_over_several_tokens_comes_when_it_is_whole() -> None:
    pieces = TextPieces()
    assert [pieces.feed(bytes([byte])) for byte in "é🎉".encode()] == ["", "é", "", "", "", "🎉"]
    assert pieces.waiting == b""
    assert pieces.feed(b"\xf0\x9f") == ""
    assert pieces.waiting == b"\xf0\x9f"
    assert pieces.feed(b"x") == "\ufffdx", "what can no longer become a character is shown as such"


def test_a_chat_is_rendered_and_opened_for_the_answer() -> None:
    template = ChatTemplate(PLAIN)
    assert template.render(CHAT, {}, False) == "<system>Be brief.</system><user>Hi</user><assistant>"


def test_a_reply_is_continued_as_it_was_written() -> None:
    template = ChatTemplate(PLAIN)
    for begun in ("Hello, I", "Hello ", "  Hello"):
        text = template.render((*CHAT, Message("assistant", begun)), {}, True)
        assert text == "<system>Be brief.</system><user>Hi</user><assistant>" + begun.lstrip()
    nothing = template.render((*CHAT, Message("assistant", "")), {}, True)
    assert nothing.endswith("</user><assistant>")


@pytest.mark.parametrize("begun", ["<", "e", "im", "end|"])
def test_a_beginning_that_also_stands_in_the_templates_own_marks_is_found_where_it_is(begun: str) -> None:
    text = ChatTemplate("").render((*CHAT, Message("assistant", begun)), {}, True)
    assert text.endswith("<|im_start|>assistant\n" + begun)


def test_a_template_that_changes_the_text_is_continued_all_the_same() -> None:
    template = ChatTemplate(PLAIN.replace("m.content | trim", "m.content | upper"))
    assert template.render((*CHAT, Message("assistant", "Well")), {}, True).endswith("<USER>".lower() + "HI</user>"
                                                                                     "<assistant>Well")  # fmt: skip


def test_without_a_template_a_plain_one_is_used() -> None:
    text = ChatTemplate("").render(CHAT, {}, False)
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n")
    assert text.endswith("<|im_start|>assistant\n")


def test_variables_tokens_and_what_templates_call_are_there() -> None:
    source = (
        "{{ bos_token }}{% if enable_thinking %}think{% endif %}{{ {'a': 'é<'} | tojson }}"
        "{{ strftime_now('%Y') | int > 1 }}"
        "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{% generation %}{{ m.content }}"
        "{% endgeneration %}{{ eos_token }}{% endfor %}"
    )
    text = ChatTemplate(source, "<s>", "</s>").render(CHAT, {"enable_thinking": True}, False)
    assert text == '<s>think{"a": "é<"}TrueHi</s>'


def test_a_template_that_refuses_says_so_with_its_own_words() -> None:
    template = ChatTemplate("{{ raise_exception('Roles must alternate') }}")
    with pytest.raises(BadRequest, match="Roles must alternate"):
        template.render(CHAT, {}, False)
    with pytest.raises(BadRequest, match="chat template"):
        ChatTemplate("{% for %}")
    with pytest.raises(BadRequest, match="no message"):
        ChatTemplate("").render((), {}, False)


@pytest.mark.parametrize(
    "source",
    ["{{ messages.append(1) }}", "{{ ''.__class__.__mro__ }}", "{{ messages[0].update({'role': 'x'}) }}",
     "{{ 1 // 0 }}", "{{ messages[5].content.x.y }}"],
)  # fmt: skip
def test_a_template_gets_at_nothing_beyond_its_messages(source: str) -> None:
    with pytest.raises(BadRequest):
        ChatTemplate(source).render(CHAT, {}, False)


def test_images_have_their_marks_in_the_prompt_and_typed_marks_are_text() -> None:
    shown = ChatTemplate(PLAIN).render((looking("What?", "a", "b"),), {}, False)
    assert shown.startswith(f"<user>{MEDIA_MARK}{MEDIA_MARK}What?")
    typed = looking(f"Is {MEDIA_MARK} it?", "a")
    assert ChatTemplate(PLAIN).render((typed,), {}, False).count(MEDIA_MARK) == 1


TOOLS = "{% for t in tools or [] %}[{{ t.function.name }}]{% endfor %}" + PLAIN.replace(
    "{{ m.content | trim }}", "{{ m.content }}{{ m.reasoning_content }}"
    "{% for c in m.tool_calls or [] %}({{ c.function.name }} {{ c.function.arguments.city }}){% endfor %}"
)  # fmt: skip


def test_a_template_gets_tools_calls_results_and_reasoning() -> None:
    call = FunctionCall("c1", "weather", '{"city": "Oslo"}')
    chat = (
        Message("developer", "Be kind."), Message("user", "Warm?"),
        Message("assistant", tool_calls=(call,), reasoning="hm"), Message("tool", "4 C", tool_call_id="c1"),
    )  # fmt: skip
    shown = ChatTemplate(TOOLS).render(chat, {"tools": [{"type": "function", "function": {"name": "weather"}}]}, False)
    assert shown.startswith("[weather]<system>Be kind.</system>")
    assert "hm(weather Oslo)" in shown
    assert "<tool>4 C</tool>" in shown


def test_calls_are_refused_by_a_template_that_would_leave_them_out() -> None:
    with pytest.raises(BadRequest) as caught:
        ChatTemplate(PLAIN).render((*CHAT, Message("tool", "4 C", tool_call_id="c1")), {}, False)
    assert caught.value.code == "template_without_tools"
