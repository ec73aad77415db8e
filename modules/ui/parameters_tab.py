"""The Parameters tab: every sampling parameter the current loader honours, and presets.

Built from PARAMS. What another tab, the chat's own drawer or an API changes is followed: a small module in
the page hears the event and asks for exactly the changed values.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.components import Component

from modules.errors import EnginehouseError, NotFound
from modules.sampling.params import BY_NAME, PARAMS, Param
from modules.types import ParamValue
from modules.ui.fields import QUIET, bind, make, note, param_field, shown, toast
from modules.ui.preset_bar import PresetBar
from modules.ui.surface import heading, line, surface
from modules.ui.text import label, t

if TYPE_CHECKING:
    from modules.app import App

Updates = dict[Any, Any]


@dataclass(slots=True)
class ParametersTab:
    """The tab's components and what updates them."""

    app: App
    messages: gr.HTML
    controls: dict[str, Component]
    groups: dict[str, gr.Column]
    hidden_line: gr.HTML
    show_all: gr.Checkbox
    presets: PresetBar

    def honoured(self) -> tuple[str, frozenset[str]]:
        """(loader, the parameters it honours): the loaded one, else the chosen one, else the first there is."""
        specs = self.app.registry.specs
        wanted = self.app.models.status.loader or self.app.settings.get("loader")
        try:
            spec = self.app.registry.get(wanted) if wanted else specs[0]
        except NotFound:
            spec = specs[0]
        return spec.name, frozenset(spec.samplers)

    def everything(self, show_all: bool) -> Updates:
        """Updates that make the whole tab show what is stored."""
        loader, honoured = self.honoured()
        values = self.app.params.values
        out: Updates = {}
        for param in PARAMS:
            works = param.name in honoured
            out[self.controls[param.name]] = gr.update(
                value=shown(param_field(param), values[param.name]), visible=works or show_all, interactive=works
            )
        for group, column in self.groups.items():
            out[column] = gr.update(visible=show_all or any(p.name in honoured for p in PARAMS if p.group == group))
        missing = len(PARAMS) - sum(param.name in honoured for param in PARAMS)
        out[self.hidden_line] = _hidden_words(missing, loader, show_all)
        out[self.show_all] = gr.update(visible=missing > 0)
        return out | self.presets.updates()

    def some(self, names: list[str]) -> Updates:
        """Updates for these parameters and the preset's line."""
        values = self.app.params.values
        fresh = {self.controls[n]: shown(param_field(BY_NAME[n]), values[n]) for n in names if n in self.controls}
        return fresh | self.presets.updates()

    @property
    def outputs(self) -> list[Any]:
        """Every component this tab's events may update."""
        return [*self.controls.values(), *self.groups.values(), self.hidden_line, self.show_all,
                *self.presets.outputs, self.messages]  # fmt: skip


def parameters_tab(app: App, tab: gr.Tab, messages: gr.HTML) -> ParametersTab:
    """Fill the tab. Call it inside `with tab:`."""
    with gr.Column(elem_classes=["eht-page"]):
        bar = PresetBar.build(app)
        with gr.Row(elem_classes=["eht-tools"]):
            listener = surface("params_tab", "eh-params-tools", events=["changed", "refresh"])
            with gr.Row(elem_classes=["eht-hidden-row"]):
                hidden_line = line("eh-params-hidden", classes=["eht-muted"])
                show_all = gr.Checkbox(
                    False,
                    label=t("params.show_all"),
                    container=False,
                    elem_id="eh-params-show-all",
                    min_width=120,
                    scale=0,
                )
        controls, groups = _groups(app)
    made = ParametersTab(app, messages, controls, groups, hidden_line, show_all, bar)
    for param in PARAMS:
        _bind(made, param)
    _events(made, tab, listener)
    return made


def _groups(app: App) -> tuple[dict[str, Component], dict[str, gr.Column]]:
    controls: dict[str, Component] = {}
    groups: dict[str, gr.Column] = {}
    values = app.params.values
    with gr.Column(elem_classes=["eht-cards"]):
        for group, members in groupby(PARAMS, key=lambda param: param.group):
            with gr.Column(elem_classes=["eht-card"]) as groups[group]:
                heading(label(f"param.group.{group}", group))
                for param in members:
                    controls[param.name] = make(param_field(param), shown(param_field(param), values[param.name]))
    return controls, groups


def _bind(made: ParametersTab, param: Param) -> None:
    async def save(value: Any) -> ParamValue:
        # In a thread: the values are on the disk before this returns.
        await asyncio.to_thread(made.app.params.set, {param.name: param.check(value)})
        kept: ParamValue = made.app.params.values[param.name]
        return kept

    bind(param_field(param), made.controls[param.name], made.messages, save,
         lambda: made.app.params.values[param.name])  # fmt: skip


def _events(made: ParametersTab, tab: gr.Tab, listener: gr.HTML) -> None:
    app, bar = made.app, made.presets

    async def refresh(show_all: bool) -> Updates:
        return made.everything(show_all)

    async def changed(event: gr.EventData) -> Updates:
        names = getattr(event, "names", None)
        return made.some([str(name) for name in names] if isinstance(names, list) else [])

    all_of_it = {"inputs": [made.show_all], "outputs": made.outputs, "preprocess": False, **QUIET}
    gr.on([tab.select, made.show_all.input], refresh, trigger_mode="always_last", **all_of_it)
    listener.refresh(refresh, trigger_mode="always_last", **all_of_it)
    # Every one counts: each names other values.
    listener.changed(changed, outputs=made.outputs, trigger_mode="multiple", **QUIET)

    def acting(action: Callable[..., Mapping[str, str] | None]) -> Callable[..., Any]:
        async def run(*values: Any) -> Updates:
            *given, show_all = values
            try:
                said = await asyncio.to_thread(action, *given)
            except EnginehouseError as error:
                return made.everything(show_all) | {made.messages: toast(error, t("params.preset"))}
            return made.everything(show_all) | ({made.messages: said} if said else {})

        return run

    def to_start() -> Mapping[str, str]:
        app.params.reset()
        return note(t("params.defaults_done"))

    def to_neutral() -> Mapping[str, str]:
        app.params.set({param.name: param.default for param in PARAMS if param.in_presets})
        return note(t("params.neutral_done"))

    bar.start.click(acting(to_start), **all_of_it)
    bar.neutral.click(acting(to_neutral), **all_of_it)
    bar.wire(acting, made.show_all, made.outputs)


def _hidden_words(missing: int, loader: str, show_all: bool) -> str:
    if not missing:
        return t("params.all_supported", loader=loader)
    if show_all:
        return t("params.off", count=missing, loader=loader)
    return t("params.hidden", count=missing, loader=loader)
