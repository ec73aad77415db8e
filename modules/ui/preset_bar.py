"""The row above the parameters: which preset is loaded, whether it was changed, save, delete, reset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from modules.errors import BadRequest
from modules.ui.fields import QUIET, note
from modules.ui.surface import line
from modules.ui.text import t

if TYPE_CHECKING:
    from modules.app import App

NONE = ""
Acting = Callable[[Callable[..., Mapping[str, str] | None]], Callable[..., Any]]


@dataclass(slots=True)
class PresetBar:
    """The bar's components. What they do is wired by `wire`."""

    app: App
    choice: gr.Dropdown
    state: gr.HTML
    save: gr.Button
    save_as: gr.Button
    delete: gr.Button
    start: gr.Button
    neutral: gr.Button
    name_row: gr.Row
    name: gr.Textbox
    name_save: gr.Button
    name_cancel: gr.Button
    delete_row: gr.Row
    delete_line: gr.HTML
    delete_yes: gr.Button
    delete_no: gr.Button

    @classmethod
    def build(cls, app: App) -> PresetBar:
        """Draw the bar where it is called."""
        with gr.Row(elem_classes=["eht-bar"]):
            choice = gr.Dropdown(
                choices=_choices(app), value=app.params.preset or NONE, label=t("params.preset"), elem_id="eh-preset",
                scale=0, min_width=220,
            )  # fmt: skip
            save = gr.Button(t("action.save"), elem_id="eh-preset-save", size="md", scale=0, min_width=72)
            save_as = gr.Button(t("preset.save_as"), elem_id="eh-preset-save-as", size="md", scale=0, min_width=96)
            delete = gr.Button(t("action.delete"), elem_id="eh-preset-delete", size="md", scale=0, min_width=84)
            start = gr.Button(t("params.defaults"), elem_id="eh-params-start", size="md", scale=0, min_width=110)
            neutral = gr.Button(t("params.neutral"), elem_id="eh-params-neutral", size="md", scale=0, min_width=104)
        with gr.Row(visible=False, elem_classes=["eht-bar", "eht-ask"]) as name_row:
            name = gr.Textbox(label=t("preset.name"), elem_id="eh-preset-name", max_lines=1, scale=0, min_width=260)
            name_save = gr.Button(
                t("preset.save"), variant="primary", elem_id="eh-preset-name-save", scale=0, min_width=110
            )
            name_cancel = gr.Button(t("action.cancel"), elem_id="eh-preset-name-cancel", scale=0, min_width=84)
        with gr.Row(visible=False, elem_classes=["eht-bar", "eht-ask"]) as delete_row:
            delete_line = line("eh-preset-delete-line")
            delete_yes = gr.Button(
                t("action.delete"), variant="stop", elem_id="eh-preset-delete-yes", scale=0, min_width=84
            )
            delete_no = gr.Button(t("action.cancel"), elem_id="eh-preset-delete-no", scale=0, min_width=84)
        state = line("eh-preset-state", _state(app), classes=["eht-muted"])
        return cls(app, choice, state, save, save_as, delete, start, neutral, name_row, name, name_save, name_cancel,
                   delete_row, delete_line, delete_yes, delete_no)  # fmt: skip

    @property
    def outputs(self) -> list[Any]:
        """What `updates` may touch."""
        return [self.choice, self.state, self.save, self.delete]

    def updates(self) -> dict[Any, Any]:
        """Updates that make the bar show the truth."""
        own = self._own()
        return {
            self.choice: gr.update(choices=_choices(self.app), value=self.app.params.preset or NONE),
            self.state: _state(self.app),
            self.save: gr.update(interactive=own and self.app.params.modified),
            self.delete: gr.update(interactive=own),
        }

    def _own(self) -> bool:
        current = self.app.params.preset
        return any(info.name == current and not info.shipped for info in self.app.presets.names())

    def wire(self, acting: Acting, show_all: gr.Checkbox, outputs: list[Any]) -> None:
        """Connect the buttons. `acting` turns an action into an event that refreshes the tab and shows errors."""
        whole: dict[str, Any] = {"preprocess": False, **QUIET}
        with_choice = {"inputs": [self.choice, show_all], "outputs": outputs, **whole}
        self.choice.input(acting(self._load), trigger_mode="always_last", **with_choice)
        self.save.click(acting(self._save), **with_choice)
        self._wire_save_as(acting, show_all, outputs, whole)
        self._wire_delete(acting, with_choice)

    def _wire_save_as(self, acting: Acting, show_all: gr.Checkbox, outputs: list[Any], whole: dict[str, Any]) -> None:
        async def ask() -> list[Any]:
            return [gr.update(visible=True), gr.update(visible=False), gr.update(value="")]

        async def done() -> Any:
            return gr.update(visible=False)

        self.save_as.click(
            ask, outputs=[self.name_row, self.delete_row, self.name], **QUIET
        ).then(None, js="() => { document.querySelector('#eh-preset-name input, #eh-preset-name textarea')?.focus() }",
               api_visibility="private")  # fmt: skip
        gr.on([self.name_save.click, self.name.submit], acting(self._save_new),
              inputs=[self.name, show_all], outputs=outputs, **whole
              ).then(done, outputs=[self.name_row], **QUIET)  # fmt: skip
        self.name_cancel.click(done, outputs=[self.name_row], **QUIET)

    def _wire_delete(self, acting: Acting, with_choice: dict[str, Any]) -> None:
        async def ask() -> list[Any]:
            name = self.app.params.preset or ""
            words = t("preset.delete_ask", name=name)
            return [gr.update(visible=True), gr.update(visible=False), words]

        async def done() -> Any:
            return gr.update(visible=False)

        self.delete.click(ask, outputs=[self.delete_row, self.name_row, self.delete_line], **QUIET)
        self.delete_yes.click(acting(self._delete), **with_choice).then(done, outputs=[self.delete_row], **QUIET)
        self.delete_no.click(done, outputs=[self.delete_row], **QUIET)

    # ── What the buttons do ──

    def _load(self, name: str) -> Mapping[str, str] | None:
        if not name:
            return None
        self.app.params.load_preset(name)
        problems = " ".join(self.app.params.problems)
        return note(problems, "warning") if problems else None

    def _save(self, name: str) -> Mapping[str, str]:
        if not self._own():
            raise BadRequest(t("preset.builtin_fixed"),
                             hint=t("preset.builtin_hint"))  # fmt: skip
        return self._store(name)

    def _save_new(self, name: str) -> Mapping[str, str]:
        cleaned = (name or "").strip()
        if not cleaned:
            raise BadRequest(t("preset.no_name"), hint=t("preset.no_name_hint"))
        if any(info.name == cleaned and info.shipped for info in self.app.presets.names()):
            raise BadRequest(t("preset.builtin_name", name=cleaned), hint=t("preset.other_name"))
        return self._store(cleaned)

    def _store(self, name: str) -> Mapping[str, str]:
        self.app.presets.save(name, self.app.params.values)
        self.app.params.load_preset(name)
        return note(t("preset.saved", name=name))

    def _delete(self, name: str) -> Mapping[str, str]:
        self.app.presets.delete(name)
        return note(t("preset.deleted", name=name))


def _choices(app: App) -> list[tuple[str, str]]:
    infos = sorted(app.presets.names(), key=lambda info: (info.shipped, info.name.casefold()))
    named = [(info.name if not info.shipped else t("params.builtin", name=info.name), info.name) for info in infos]
    return named if app.params.preset else [(t("preset.none"), NONE), *named]


def _state(app: App) -> str:
    name = app.params.preset
    if not name:
        return t("preset.state_none")
    if app.params.modified:
        return t("preset.state_modified", name=name)
    return t("preset.state", name=name)
