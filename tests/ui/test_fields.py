"""From a table's row to a control and back: values survive the way, and a refused one names its remedy."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loaders.base import LoadParam
from modules.errors import BadParameter
from modules.sampling.params import BY_NAME, PARAMS
from modules.settings.store import SETTINGS
from modules.ui.build import quick_import

with quick_import():
    import gradio as gr

from modules.ui.fields import Field, bind, load_field, make, param_field, setting_field, shown, stored


@pytest.mark.parametrize("param", PARAMS, ids=lambda param: param.name)
def test_a_default_shown_and_sent_back_is_the_same_value(param: Any) -> None:
    field = param_field(param)
    assert param.check(stored(field, shown(field, param.default))) == param.default


@given(st.lists(st.text(min_size=1, max_size=8).filter(lambda text: text.strip() == text), max_size=6))
def test_any_list_of_strings_survives_being_shown(items: list[str]) -> None:
    field = param_field(BY_NAME["dry_sequence_breakers"])
    assert stored(field, shown(field, items)) == items


@given(
    st.dictionaries(st.integers(0, 99999).map(str), st.floats(-100, 100).map(lambda bias: round(bias, 3)), max_size=5)
)
def test_any_token_bias_survives_being_shown(biases: dict[str, float]) -> None:
    field = param_field(BY_NAME["logit_bias"])
    assert stored(field, shown(field, biases)) == biases


@pytest.mark.parametrize(
    ("name", "text"),
    [("logit_bias", "{"), ("logit_bias", "[1]"), ("dry_sequence_breakers", '"a", b'), ("seed", None)],
)
def test_what_cannot_be_read_is_refused_with_an_example(name: str, text: str | None) -> None:
    with pytest.raises(BadParameter) as refused:
        stored(param_field(BY_NAME[name]), text)
    assert refused.value.hint
    assert refused.value.param == name


def test_a_slider_keeps_to_its_range_as_its_own_box_does() -> None:
    field = param_field(BY_NAME["temperature"])
    assert field.slides
    assert stored(field, 9) == 5
    assert stored(field, -1) == 0


@pytest.mark.parametrize(
    ("kind", "more", "control"),
    [
        ("float", {"low": 0, "high": 2, "step": 0.01}, gr.Slider),
        ("int", {"low": 0, "high": 200, "step": 1}, gr.Slider),
        ("int", {"low": -1, "high": 2**31, "step": 1}, gr.Number),
        ("float", {}, gr.Number),
        ("bool", {}, gr.Checkbox),
        ("choice", {"choices": ("a", "b")}, gr.Dropdown),
        ("text", {}, gr.Textbox),
        ("list", {}, gr.Textbox),
        ("map", {}, gr.Textbox),
    ],
)
def test_each_kind_has_its_control(kind: Any, more: dict[str, Any], control: type) -> None:
    value: Any = {"bool": True, "choice": "a", "text": "x", "list": ["a"], "map": {}}.get(kind, 0)
    made = make(Field("name", kind, "Label", "What it does.", "test", **more), value)
    assert type(made) is control
    assert made.label == "Label"
    assert made.elem_id == "test-name"


def test_a_secret_setting_is_typed_unseen_and_one_that_waits_for_a_restart_says_so() -> None:
    by_name = {setting.name: setting for setting in SETTINGS}
    assert make(setting_field(by_name["api_key"]), "").type == "password"
    assert "after a restart" in setting_field(by_name["port"]).help
    assert "after a restart" not in setting_field(by_name["theme"]).help


class Stored:
    """A place for one value that refuses negative ones."""

    def __init__(self, value: int) -> None:
        self.value = value

    async def save(self, value: Any) -> int:
        if value < 0:
            raise BadParameter("It is below 0.", hint="Take 0 or more.")
        self.value = int(value)
        return self.value


def handler(place: Stored) -> tuple[Any, Any, Any]:
    """(the event's function, the control, the messages component) of a bound number."""

    async def build() -> Any:
        with gr.Blocks() as blocks:
            messages = gr.HTML()
            field = load_field("x", LoadParam("count", "int", 3, "Count", "How many."))
            control = make(field, 3)
            bind(field, control, messages, place.save, lambda: place.value)
        return next(iter(blocks.fns.values())).fn, control, messages

    made: tuple[Any, Any, Any] = asyncio.run(build())
    return made


def test_a_good_value_is_saved_and_leaves_the_control_alone() -> None:
    place = Stored(3)
    save, control, _ = handler(place)
    updates = asyncio.run(save(5))
    assert place.value == 5
    assert control not in updates


def test_a_refused_value_brings_back_the_stored_one_and_says_why() -> None:
    place = Stored(3)
    save, control, messages = handler(place)
    updates = asyncio.run(save(-5))
    assert place.value == 3
    assert updates[control] == 3
    assert updates[messages]["message"] == "It is below 0."
    assert updates[messages]["hint"] == "Take 0 or more."


def test_a_value_that_is_stored_differently_is_shown_as_it_is_stored() -> None:
    save, control, _ = handler(Stored(3))
    assert asyncio.run(save(5.5))[control] == 5


def test_a_value_outside_its_slider_is_put_back_and_that_stands_at_the_control_until_a_good_one() -> None:
    async def build() -> Any:
        with gr.Blocks() as blocks:
            messages = gr.HTML()
            field = param_field(BY_NAME["temperature"])
            control = make(field, 1.0)

            async def keep(value: Any) -> Any:
                return value

            bind(field, control, messages, keep, lambda: 1.0)
        return next(iter(blocks.fns.values())).fn, control, messages

    save, control, messages = asyncio.run(build())
    updates = asyncio.run(save(99))
    assert updates[control]["value"] == 5
    assert "99" in updates[control]["info"]
    assert "5" in updates[control]["info"]
    assert updates[messages]["level"] == "warning"
    assert asyncio.run(save(1.5))[control]["info"] == BY_NAME["temperature"].help
    assert control not in asyncio.run(save(1.5))


def test_importing_gradio_quickly_leaves_the_standard_library_as_it_was() -> None:
    assert inspect.getfile.__module__ != "modules.ui.build"  # another library (PyTorch) may have put its own there
    assert inspect.getfile(gr.Slider).endswith("slider.py")
