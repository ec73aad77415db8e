"""Prompts of real models' templates: equal to transformers' apply_chat_template, and every difference named.

One test for each template. Without transformers prompts cannot be compared; continuations are checked all the same.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from loaders.text.template import ChatTemplate
from loaders.text.template_message import template_message
from loaders.text.template_probe import probe
from modules.errors import BadRequest
from modules.generation.roles import fit_roles
from modules.messages.reasoning import SectionKind, reply_start
from modules.types import Message

FOLDER = Path(__file__).parent / "templates"
TEMPLATES = sorted(path.stem for path in FOLDER.glob("*.jinja"))
USER, SYSTEM, ANSWER = Message("user", "Hi there"), Message("system", "Be brief."), Message("assistant", "Hello.")
MORE, BEGUN = Message("user", "More"), Message("assistant", "Well, I")
THINKING, NO_THINKING = {"enable_thinking": True, "thinking": True}, {"enable_thinking": False, "thinking": False}
CELLS: Mapping[str, tuple[tuple[Message, ...], bool, Mapping[str, Any]]] = {
    "simple": ((USER,), False, {}),
    "system": ((SYSTEM, USER), False, {}),
    "multi-turn": ((SYSTEM, USER, ANSWER, MORE), False, {}),
    "thinking on": ((USER,), False, THINKING),
    "thinking off": ((USER,), False, NO_THINKING),
    "two user messages": ((USER, MORE), False, {}),
    "continue text": ((USER, BEGUN), True, {}),
    "continue text later": ((USER, ANSWER, MORE, BEGUN), True, {}),
}
REFUSES_ALL = {
    "CohereForAI-c4ai-command-r-plus-tool_use", "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use", "fireworks-ai-llama-3-firefunction-v2",
}  # fmt: skip
"""Templates that fail without a list of tools, here and in transformers."""
NO_SYSTEM = {"google-gemma-2-2b-it"}
DEFAULTS = {
    "Apertus-8B-Instruct": False, "Bielik-11B-v3.0-Instruct": False, "Cohere2MoE": True, "Reka-Edge": False,
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": False, "GLM-4.7-Flash": True, "Kimi-K3": True, "MiniMax-M3": None,
    "Qwen-Qwen3-0.6B": True, "Spark2.5": True, "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": False,
    "deepseek-ai-DeepSeek-V3.1": False, "deepseek-ai-DeepSeek-V3.2": False, "deepseek-ai-DeepSeek-V4": False,
    "google-gemma-4-31B-it": False, "ibm-granite-granite-3.3-2B-Instruct": False, "inclusionai-ling-3.0-flash": True,
    "llama-cpp-rwkv-world": None, "openbmb-MiniCPM5-1B": None, "poolside-Laguna-XS-2.1": False,
    "poolside-Laguna-XS.2": False, "tencent-Hy3": False, "upstage-Solar-Open-100B": True,
}  # fmt: skip
"""Whether a model thinks when nothing is said, for the templates that have a variable for it; None = as it likes."""
compared = pytest.mark.skipif(not importlib.util.find_spec("transformers"), reason="the reference is transformers")


def source_of(name: str) -> str:
    return (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")


def template_of(name: str) -> ChatTemplate:
    return ChatTemplate(source_of(name), "<s>", "</s>")


def reference(source: str, chat: tuple[Message, ...], continued: bool, variables: Mapping[str, Any]) -> str | None:
    """What transformers makes of it; None where the template refuses."""
    import jinja2
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        rendered, _ = render_jinja_template(
            [[template_message(message, message.text, "") for message in chat]], chat_template=source,
            continue_final_message=continued,
            add_generation_prompt=not continued, bos_token="<s>", eos_token="</s>", **variables,
        )  # fmt: skip
    except (jinja2.TemplateError, TypeError, ValueError):
        return None
    return str(rendered[0])


def rendered(
    template: ChatTemplate, chat: tuple[Message, ...], continued: bool, variables: Mapping[str, Any]
) -> str | None:
    try:
        return template.render(chat, variables, continued)
    except BadRequest:
        return None


@compared
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_prompt_is_what_transformers_makes_of_it(name: str) -> None:
    source, template = source_of(name), template_of(name)
    different = [cell for cell, asked in CELLS.items() if rendered(template, *asked) != reference(source, *asked)]
    assert different == []


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name not in REFUSES_ALL])
def test_a_reply_is_continued_where_it_was_cut(name: str) -> None:
    """Where transformers raises an error or breaks the thinking apart, so that there is nothing to compare with."""
    template = template_of(name)
    plain = template.render((USER,), {}, False)
    assert template.render((USER, Message("assistant", "")), {}, True) == plain, "an empty reply keeps its header"
    prompt = template.render((USER, Message("assistant", "", reasoning="I thi")), {}, True)
    start = reply_start(prompt.removesuffix("I thi"))
    assert prompt.endswith("I thi")
    assert start.section is not None
    assert start.kind is SectionKind.REASONING, "the rest of a thought is a thought"
    for text in ("<think>\nI thi", "<think>\nI think\n</think>\n\nThe ans"):
        prompt = template.render((USER, Message("assistant", text)), {}, True)
        reply = prompt[prompt.rindex("Hi there") :]
        assert reply.count("I thi") == reply.count("<think>") == 1, "thoughts are there once"
        assert ("The ans" in reply) == ("</think>" in reply) == ("ans" in text), "and are not closed before they end"


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name not in REFUSES_ALL])
def test_what_a_template_takes_is_found_by_rendering(name: str) -> None:
    template = template_of(name)
    traits = probe(template)
    assert traits.system_role == (name not in NO_SYSTEM)
    assert traits.thinking is not None or name not in DEFAULTS
    assert traits.thinking is None or traits.thinking.default is DEFAULTS[name]
    chat, _ = fit_roles((SYSTEM, USER, MORE, ANSWER, MORE), traits)
    prompt = template.render(chat, {}, False)
    assert all(message.text in prompt for message in (SYSTEM, USER, MORE))
