"""From a row of a table (PARAMS, a loader's settings, SETTINGS) to the control that shows and saves it.

One function per kind of control, and `bind`, which gives a control its one event. Nobody ever gathers
values: a control sends itself, alone, outside Gradio's queue (an event with 180 inputs costs 350 ms, one
with a single input a few). Values are checked by the table row, not by Gradio, so that there is one set of
rules and one wording for them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

import gradio as gr
from gradio.components import Component

from loaders.base import LoadParam
from modules.errors import BadParameter, EnginehouseError
from modules.sampling.param import written
from modules.sampling.params import Param
from modules.settings.setting import Setting
from modules.types import ParamValue
from modules.ui.text import label, t

Kind = Literal["float", "int", "bool", "text", "choice", "list", "map", "files"]
Shown = bool | int | float | str | list[str] | None
Save = Callable[[Any], Awaitable[Any]]
"""Stores a value; gives back the value now in force. Raises EnginehouseError when it is refused."""

SLIDER_STEPS = 500
"""A range with more steps than this is a number to type: no mouse can pick one of 8,192."""

_PLAIN = re.compile(r"^[\w.:/*-]+$")
QUIET: Mapping[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""What every event of this page has in common. An event that is not private becomes an API of its own."""


@dataclass(frozen=True, slots=True)
class Field:
    """What a control needs to know of its row. `prefix` makes its element id unique on the page; `group` begins
    the keys of its choices' texts (`<group>.choice.<choice>`)."""

    name: str
    kind: Kind
    label: str
    help: str
    prefix: str
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    secret: bool = False
    group: str = ""

    @property
    def elem_id(self) -> str:
        """The control's id in the page, for tests, search and style."""
        return f"{self.prefix}-{self.name}".replace("_", "-").replace(".", "-")

    @property
    def slides(self) -> bool:
        """Whether the range is small enough for a slider."""
        if self.kind not in ("int", "float") or self.low is None or self.high is None:
            return False
        step = self.step or (1 if self.kind == "int" else 0.01)
        aligned = self.kind == "float" or self.low % step == 0  # else 0 and 1024 lie between two steps
        return aligned and (self.high - self.low) / step <= SLIDER_STEPS


def param_field(param: Param) -> Field:
    """A sampling parameter's field."""
    name = f"param.{param.name}"
    texts = label(f"{name}.label", param.label), label(f"{name}.help", param.help)
    return Field(param.name, param.kind, *texts, "param", param.low, param.high,
                 param.step, param.choices)  # fmt: skip


def load_field(loader: str, param: LoadParam) -> Field:
    """A loader setting's field."""
    name = f"load.{loader}.{param.name}"
    texts = label(f"{name}.label", param.label), label(f"{name}.help", param.help)
    return Field(param.name, param.kind, *texts, f"load-{loader}", param.low, param.high,
                 param.step, param.choices)  # fmt: skip


def setting_field(setting: Setting) -> Field:
    """A program setting's field; one that waits for a restart says so."""
    name = f"setting.{setting.name}"
    text = label(f"{name}.help", setting.help)
    help_text = t("setting.restart", help=text) if setting.restart_needed else text
    return Field(setting.name, setting.kind, t(f"{name}.label"), help_text, "setting", setting.low, setting.high,
                 choices=setting.choices, secret=setting.secret, group=name)  # fmt: skip


# ── Values: as stored ↔ as shown ────────────────────────────────────────────────────────────────────


def shown(field: Field, value: Any) -> Shown:
    """The stored value as its control shows it. A list of odd strings is quoted, so that "\\n" survives."""
    if field.kind == "list":
        items = [str(item) for item in value]
        if all(_PLAIN.match(item) for item in items):
            return "\n".join(items)
        return ", ".join(json.dumps(item, ensure_ascii=False) for item in items)
    if field.kind == "map":
        return json.dumps(value, ensure_ascii=False) if value else ""
    if field.kind == "files":
        return [one.strip() for one in str(value).split(",") if one.strip()]
    plain: Shown = value
    return plain


def stored(field: Field, value: Any) -> ParamValue:
    """What a control sent, in the table's terms. Raises BadParameter for text that cannot be read."""
    if field.slides and isinstance(value, (int, float)) and not isinstance(value, bool):
        # The slider's own number box snaps back into its range after it has sent what was typed.
        value = min(max(value, field.low or 0), field.high if field.high is not None else value)
    if field.kind == "list" and isinstance(value, str):
        return _list(field, value)
    if field.kind == "map":
        return _map(field, str(value or ""))
    if field.kind == "files":
        chosen = value if isinstance(value, list) else [value or ""]
        return ", ".join(text for one in chosen if (text := str(one).strip().strip(",")))
    if value is None:
        raise BadParameter(t("field.empty", name=field.label), hint=t("field.empty_hint"), param=field.name)
    out: ParamValue = value
    return out


def clamped(field: Field, value: Any, sent: ParamValue) -> str:
    """What to say when `stored` put a typed number back into its slider's range; "" when it did not."""
    if not field.slides or not isinstance(value, (int, float)) or value == sent:
        return ""
    low, high = written(field.low or 0), written(field.high if field.high is not None else 1)
    used = written(float(str(sent)))
    return t("field.clamped", given=f"{value:g}", low=low, high=high, used=used)


def _list(field: Field, text: str) -> list[str]:
    if not text.strip().startswith('"'):
        return [line.strip() for line in text.replace(",", "\n").splitlines() if line.strip()]
    try:
        items = json.loads(f"[{text.strip()}]")
    except ValueError:
        raise BadParameter(
            t("field.unreadable", name=field.label),
            hint=t("field.list_hint"),
            param=field.name,
        ) from None
    return [str(item) for item in items]


def _map(field: Field, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text) if text.strip() else {}
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise BadParameter(
            t("field.not_json", name=field.label),
            hint=t("field.map_hint"),
            param=field.name,
        )
    return value


# ── Controls, one function per kind ─────────────────────────────────────────────────────────────────


def make(field: Field, value: Any, **more: Any) -> Component:
    """The control for a field, showing `value`."""
    common = {"label": field.label, "info": field.help, "elem_id": field.elem_id, **more}
    if field.slides:
        return _slider(field, value, common)
    return _MAKERS[field.kind](field, value, common)


def _slider(field: Field, value: Any, common: dict[str, Any]) -> Component:
    step = field.step or (1 if field.kind == "int" else 0.01)
    # No reset button: Gradio's goes back to what the page was built with, not to anything a person means.
    return gr.Slider(field.low or 0, field.high or 1, value=value, step=step, buttons=[], **common)


def _number(field: Field, value: Any, common: dict[str, Any]) -> Component:
    precision = 0 if field.kind == "int" else None
    return gr.Number(value=value, precision=precision, minimum=field.low, step=field.step or 1, **common)


def _checkbox(field: Field, value: Any, common: dict[str, Any]) -> Component:
    return gr.Checkbox(value=bool(value), **common)


def _dropdown(field: Field, value: Any, common: dict[str, Any]) -> Component:
    choices = [(choice_text(field, choice), choice) for choice in field.choices]
    return gr.Dropdown(choices, value=value, filterable=len(choices) > 8, **common)


def choice_text(field: Field, choice: str) -> str:
    """What a choice is called: its own name where the catalogue has none."""
    return label(f"{field.group}.choice.{choice}", choice) if choice else t("choice.automatic")


def _files(field: Field, value: Any, common: dict[str, Any]) -> Component:
    # A strength is typed behind the name, so what is not in the list has to be possible.
    chosen = shown(field, value) if isinstance(value, str) else value
    return gr.Dropdown(field.choices or [], value=chosen, multiselect=True, allow_custom_value=True, **common)


def _line(field: Field, value: Any, common: dict[str, Any]) -> Component:
    kind: Literal["password", "text"] = "password" if field.secret else "text"
    return gr.Textbox(value=value, lines=1, max_lines=1, type=kind, **common)


def _lines(field: Field, value: Any, common: dict[str, Any]) -> Component:
    return gr.Textbox(value=str(shown(field, value)), lines=2, max_lines=12, **common)


_MAKERS: Mapping[str, Callable[[Field, Any, dict[str, Any]], Component]] = {
    "float": _number,
    "int": _number,
    "bool": _checkbox,
    "choice": _dropdown,
    "text": _line,
    "list": _lines,
    "map": _lines,
    "files": _files,
}


# ── The one event of a control ──────────────────────────────────────────────────────────────────────


def triggers(control: Component) -> list[Any]:
    """The events that mean "the person is done": never `change`, which our own updates fire as well."""
    if isinstance(control, gr.Slider):
        return [control.release]
    if isinstance(control, gr.Dropdown) and control.multiselect:
        return [control.input, control.blur]  # a name that was typed is told of when the box is left
    if isinstance(control, (gr.Checkbox, gr.Dropdown)):
        return [control.input]
    return [control.blur, control.submit]


def bind(
    field: Field,
    control: Component,
    messages: Component,
    save: Callable[..., Awaitable[Any]],
    current: Callable[..., Any],
    also: Component | None = None,
    js: str | None = None,
    then: tuple[Callable[..., dict[Any, Any]], list[Any]] | None = None,
) -> None:
    """Give a control its event: what it shows goes to `save`; a refused value goes back to what is stored.

    Args:
        messages  the page's toaster; a refusal appears there with its remedy
        save      async (value) → the value now in force; with `also`, (value, also's value)
        current   () → the stored value; with `also`, (also's value)
        js        run in the browser with the value before it is sent
        then      (() → updates after a save; with `also`, (also's value) → …; all components they may touch)
    """
    follow, touched = then or (lambda *more: {}, [])
    remarked = False  # a remark stands at the control; the next good value takes it away

    async def changed(value: Any, *more: Any) -> dict[Any, Any]:
        nonlocal remarked
        try:
            sent = stored(field, value)
            kept = await save(sent, *more)
        except EnginehouseError as error:
            return {control: shown(field, current(*more)), messages: toast(error, field.label)}
        back = shown(field, kept)
        remark = clamped(field, value, sent)
        if remark or remarked:
            remarked = bool(remark)
            said = note(remark, "warning", field.label) if remark else gr.skip()
            return {messages: said} | follow(*more) | {control: gr.update(value=back, info=remark or field.help)}
        return {messages: gr.skip()} | follow(*more) | ({} if back == value else {control: back})

    gr.on(
        triggers(control),
        changed,
        inputs=[control] if also is None else [control, also],
        outputs=list(dict.fromkeys([control, messages, *touched])),
        js=js,
        preprocess=False,
        trigger_mode="always_last",
        **QUIET,
    )


def toast(error: EnginehouseError, title: str = "") -> dict[str, str]:
    """An error as a value of the page's toaster. It is drawn as text, never as markup."""
    return {"level": "warning", "title": title, "message": error.message, "hint": error.hint, "id": uuid4().hex}


def note(message: str, level: str = "success", title: str = "") -> dict[str, str]:
    """A plain sentence as a value of the page's toaster. The id makes saying it twice two toasts."""
    return {"level": level, "title": title, "message": message, "hint": "", "id": uuid4().hex}
