"""The table of reasoning formats, through the stream parser, as models write."""

from __future__ import annotations

import pytest

from modules.generation.stream_parser import StreamParser
from modules.messages.reasoning import MARK_TOKENS, REASONING_FORMATS, model_marks, reply_start
from modules.types import Reasoning, Text

FINAL = "<|start|>assistant<|channel|>final<|message|>"
REPLIES = [
    *(
        (f"{begin}a{end}b", "a", "b")
        for begin, end in (
            ("<think>\n", "\n</think>\n\n"), ("<thinking>", "</thinking>"), ("<thought>", "</thought>"),
            ("<reasoning>", "</reasoning>"), ("<seed:think>", "</seed:think>"), ("<mm:think>", "</mm:think>"),
            ("<think:opensource>", "</think:opensource>"), ("[THINK]", "[/THINK]"), ("◁think▷", "◁/think▷"),
            ("<|inner_prefix|>", "<|inner_suffix|>"), ("<|channel>thought\n", "\n<channel|>"),
        )
    ),
    ("<think>a</think><response>b</response>", "a", "b"),
    ("<think>\na\n</think>\n<answer>\nb\n</answer>", "a", "b"),
    ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>b<|END_RESPONSE|>", "a", "b"),
    ("<|START_RESPONSE|>b<|END_RESPONSE|>", "", "b"),
    ("<|START_THINKING|>a<|END_THINKING|><|START_TEXT|>b<|END_TEXT|>", "a", "b"),
    ("<|begin_of_thought|>a<|end_of_thought|>\n\n<|begin_of_solution|>b<|end_of_solution|>", "a", "b"),
    ("<|think|>a<|end|><|begin|>assistant<|content|>b<|end|>", "a", "b"),
    ("<|open|>think<|sep|>a<|close|>think<|sep|><|open|>response<|sep|>b<|close|>response<|sep|>", "a", "b"),
    ("<|channel|>final<|message|>b", "", "b"),
    ("<|channel|>analysis<|message|>a<|end|>" + FINAL + "b<|return|>", "a", "b"),
    ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>analysis<|message|>c<|end|>" + FINAL + "b",
     "a\n\nc", "b"),
    ("<|channel|>commentary<|message|>a<|end|>" + FINAL + "b", "a", "b"),
    ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>b",
     "a", "b"),
    ("<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>", "{}", ""),
    ("<|start|>assistant to=self<|message|>a<|eom|><|start|>assistant<|message|>b<|eot|>", "a", "b"),
    ("<|channel|>analysis<|message|>a" + FINAL + "b", "a", "b"),
    ("<|channel|>final", "", ""),
]  # fmt: skip
PROMPTS = [
    ("<|im_start|>assistant\n<think>\n", "a</think>b", "a", "b"),
    ("<think>\n\n</think>\n\n", "b", "", "b"),
    ("<think></think>", "<response>b</response>", "", "b"),
    ("<|start|>assistant", " to=self<|message|>a<|eom|><|start|>assistant<|message|>b", "a", "b"),
    ("<|start|>assistant", "<|message|>b<|eot|>", "", "b"),
    ("<|start|>assistant", "plain", "", "plain"),
    ("<|start|>assistant<|channel|>analysis<|message|>", "a<|end|>" + FINAL + "b", "a", "b"),
    (FINAL, "b<|return|>", "", "b"),
    ("<|begin|>assistant", "<|content|>b<|end|>", "", "b"),
    ("<|begin|>assistant", "<|think|>a<|end|><|begin|>assistant<|content|>b<|end|>", "a", "b"),
    ("\n<|begin_assistant|>\nHere are my reasoning steps:\n", "a\n[BEGIN FINAL RESPONSE]\nb", "a", "b"),
    ("assistant:", "Here are my reasoning steps: one", "", "Here are my reasoning steps: one"),
    ("<|open|>think<|sep|>", "a<|close|>think<|sep|><|open|>response<|sep|>b<|close|>response<|sep|>", "a", "b"),
]


def read(text: str, prompt: str = "") -> list[tuple[str, str]]:
    """(thinking, answer), white space at their ends left out, for the whole text and for every place to cut it."""
    found = []
    for place in range(len(text) + 1):
        parser = StreamParser((), REASONING_FORMATS, reply_start(prompt))
        out = [*parser.feed(Text(text[:place])), *parser.feed(Text(text[place:])), *parser.flush()]
        thinking = "".join(one.text for one in out if isinstance(one, Reasoning)).strip()
        found.append((thinking, "".join(one.text for one in out if isinstance(one, Text)).strip()))
    return list(dict.fromkeys(found))


@pytest.mark.parametrize(("text", "thinking", "answer"), REPLIES)
def test_thinking_is_split_off_and_no_mark_is_left(text: str, thinking: str, answer: str) -> None:
    assert read(text) == [(thinking, answer)]


@pytest.mark.parametrize(("prompt", "text", "thinking", "answer"), PROMPTS)
def test_a_prompt_may_leave_the_reply_inside(prompt: str, text: str, thinking: str, answer: str) -> None:
    assert read(text, prompt) == [(thinking, answer)]


def test_only_marks_of_the_models_own_family_are_asked_for() -> None:
    assert {"[THINK]", "[/THINK]"} == set(model_marks({"[THINK]", "[/THINK]", "<|end|>"}.__contains__))
    assert model_marks({"<|end|>", "<|assistant|>"}.__contains__) == (), "with Phi this token only ends the reply"
    assert "<|end|>" in model_marks({"<|channel|>", "<|message|>", "<|end|>"}.__contains__)
    assert {"<think>", "<|START_RESPONSE|>", "◁/think▷", "<|constrain|>"} - MARK_TOKENS == {"<|constrain|>"}
