"""The Model tab: what is on disk, how it will be loaded, and the model that runs.

The list and the state are our own DOM fed by /api/models and the event line, because they change while
nobody clicks. The loader's settings are Gradio controls built from the loader specs, one hidden group per
loader. Loading never runs inside an event: a load takes minutes, and an event blocks its own tab.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.components import Component

from loaders.base import LoaderSpec, LoadParam
from modules.errors import EnginehouseError, NotFound
from modules.types import ParamValue
from modules.ui.fields import QUIET, bind, load_field, make, note, shown, toast
from modules.ui.load_drafts import LoadDrafts
from modules.ui.surface import heading, line, surface

if TYPE_CHECKING:
    from modules.app import App

Updates = dict[Any, Any]
SETTLE = 0.25
"""Seconds between the click on Load and the load: leaving a box saves it, and the click is what leaves it."""


@dataclass(slots=True)
class ModelTab:
    """The tab's components and what updates them."""

    app: App
    messages: gr.HTML
    listing: gr.HTML
    detail: gr.HTML
    loader: gr.Dropdown
    why: gr.HTML
    panel: gr.Column
    reset: gr.Button
    groups: dict[str, gr.Column]
    controls: dict[tuple[str, str], Component]
    drafts: LoadDrafts = field(default_factory=LoadDrafts)

    @property
    def outputs(self) -> list[Any]:
        """Every component this tab's events may update."""
        return [self.loader, self.why, self.panel, *self.groups.values(), *self.controls.values(), self.messages]

    def choice(self, name: str) -> tuple[LoaderSpec, str]:
        """(loader for this model, why that one). Raises NotFound for a model that is not there."""
        model = self.app.catalog.get(name)
        picked = self.drafts.loader(name)
        if picked in model.loaders:
            return self.app.registry.get(picked), "You chose it."
        chosen = self.app.catalog.pick_loader(model)
        return chosen.value, chosen.why

    def values(self, name: str, spec: LoaderSpec) -> dict[str, ParamValue]:
        """The complete settings the next load of this model uses."""
        return self.drafts.values(name, spec, self.app.models.saved_settings(name))

    def for_model(self, name: str) -> Updates:
        """Updates that make the settings those of this model."""
        hide: Updates = {self.panel: gr.update(visible=False)}
        if not name:
            return hide
        try:
            model = self.app.catalog.get(name)
            if not model.runnable or not model.loaders:
                return hide
            spec, why = self.choice(name)
            values = self.values(name, spec)
        except EnginehouseError as error:
            return hide | {self.messages: toast(error, "Model")}
        choices = [(self.app.registry.get(one).title, one) for one in model.loaders]
        out: Updates = {
            self.panel: gr.update(visible=True),
            self.loader: gr.update(choices=choices, value=spec.name, interactive=len(choices) > 1),
            self.why: why,
        }
        for loader, group in self.groups.items():
            out[group] = gr.update(visible=loader == spec.name)
        for param in spec.params:
            out[self.controls[spec.name, param.name]] = shown(load_field(spec.name, param), values[param.name])
        return out


def model_tab(app: App, tab: gr.Tab, messages: gr.HTML) -> ModelTab:
    """Fill the tab. Call it inside `with tab:`."""
    with gr.Row(elem_classes=["eht-page", "eht-split"], equal_height=False):
        with gr.Column(elem_classes=["eht-list"], min_width=280):
            listing = surface("models_list", "eh-models", "", events=["chosen"])
        with gr.Column(elem_classes=["eht-detail"], min_width=300):
            detail = surface("model_detail", "eh-model-detail", events=["start"])
            with gr.Column(visible=False, elem_classes=["eht-card"]) as panel:
                heading("How to load it")
                loader = gr.Dropdown([], label="Loader", elem_id="eh-loader", interactive=True)
                why = line("eh-loader-why", classes=["eht-muted"])
                groups, controls = _groups(app)
                reset = gr.Button("Back to the defaults", elem_id="eh-load-defaults", size="sm", scale=0)
    made = ModelTab(app, messages, listing, detail, loader, why, panel, reset, groups, controls)
    for spec in app.registry.specs:
        for param in spec.params:
            _bind(made, spec, param)
    _events(made, tab)
    return made


def _groups(app: App) -> tuple[dict[str, gr.Column], dict[tuple[str, str], Component]]:
    groups: dict[str, gr.Column] = {}
    controls: dict[tuple[str, str], Component] = {}
    for spec in app.registry.specs:
        with gr.Column(visible=False, elem_classes=["eht-grid"]) as groups[spec.name]:
            for param in spec.params:
                made = load_field(spec.name, param)
                controls[spec.name, param.name] = make(made, shown(made, param.default))
    return groups, controls


def _bind(made: ModelTab, spec: LoaderSpec, param: LoadParam) -> None:
    async def save(value: Any, model: str) -> ParamValue:
        return made.drafts.set(made.app.catalog.get(model).name, spec, param.name, value)

    bind(
        load_field(spec.name, param),
        made.controls[spec.name, param.name],
        made.messages,
        save,
        lambda model: made.values(model, spec)[param.name],
        also=made.listing,
    )


def _events(made: ModelTab, tab: gr.Tab) -> None:
    app = made.app

    async def chosen(name: str) -> Updates:
        return made.for_model(name)

    async def pick(loader: str, name: str) -> Updates:
        try:
            app.registry.get(loader)
            made.drafts.choose(app.catalog.get(name).name, loader)
        except NotFound as error:
            return {made.messages: toast(error, "Loader")}
        return made.for_model(name)

    async def defaults(name: str) -> Updates:
        try:
            spec, _ = made.choice(name)
        except EnginehouseError as error:
            return {made.messages: toast(error, "Model")}
        made.drafts.forget(name, spec)
        return made.for_model(name) | {made.messages: note("The settings are the loader's defaults again.")}

    async def load(name: str) -> Any:
        # A number that was just typed is saved by its own event, sent before this one; let it arrive.
        await asyncio.sleep(SETTLE)
        return await start_loading(made, name)

    quiet: dict[str, Any] = {"preprocess": False, **QUIET}
    for trigger in (tab.select, made.listing.chosen):
        # By default a second choice is dropped while the first one is being answered.
        trigger(chosen, inputs=[made.listing], outputs=made.outputs, trigger_mode="always_last", **quiet)
    made.loader.input(
        pick, inputs=[made.loader, made.listing], outputs=made.outputs, trigger_mode="always_last", **quiet
    )
    made.reset.click(defaults, inputs=[made.listing], outputs=made.outputs, **quiet)
    made.detail.start(load, inputs=[made.listing], outputs=[made.messages], **quiet)


async def start_loading(made: ModelTab, name: str) -> Any:
    """Begin loading and return at once. What happens then reaches every page as model events and notices."""
    try:
        spec, _ = made.choice(name)
        made.app.load_in_background(name, spec.name, made.values(name, spec))
    except EnginehouseError as error:
        return toast(error, "Model")
    return gr.skip()
