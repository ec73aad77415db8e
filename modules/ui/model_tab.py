"""The Model tab: what is on disk, how it will be loaded, and the model that runs.

The list and the state are our own DOM fed by /api/models and the event line, because they change while
nobody clicks. The loader's settings are Gradio controls built from the loader specs (load_groups.py).
Loading never runs inside an event: a load takes minutes, and an event blocks its own tab.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import gradio as gr

from loaders.base import LoaderSpec, LoadParam
from modules.errors import EnginehouseError, NotFound
from modules.models.auxiliary_files import offered
from modules.models.status_json import clamped_settings
from modules.types import ParamValue
from modules.ui.fields import QUIET, bind, load_field, note, toast
from modules.ui.load_drafts import LoadDrafts
from modules.ui.load_groups import LoaderGroup, Updates, control_updates, fold_updates, loader_group
from modules.ui.surface import heading, line, surface
from modules.ui.text import t

if TYPE_CHECKING:
    from modules.app import App

HELD = frozenset({"context"})
"""Settings that an engine may hold to another value than the one given: their control says so once it runs."""

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
    memory: gr.HTML
    saved: gr.HTML
    panel: gr.Column
    reset: gr.Button
    groups: dict[str, LoaderGroup]
    drafts: LoadDrafts = field(default_factory=LoadDrafts)

    @property
    def outputs(self) -> list[Any]:
        """Every component this tab's events may update."""
        inside = [one for group in self.groups.values() for one in group.outputs]
        return [self.loader, self.why, self.memory, self.saved, self.panel, *inside, self.messages]

    def choice(self, name: str) -> tuple[LoaderSpec, str]:
        """(loader for this model, why that one); in a thread too. Raises NotFound for a model that is not there."""
        model = self.app.catalog.get(name)
        picked = self.drafts.loader(name)
        if picked in model.loaders:
            return self.app.registry.get(picked), t("loader.chosen")
        chosen = self.app.models.pick_loader(model)
        return chosen.value, chosen.why

    def values(self, name: str, spec: LoaderSpec) -> dict[str, ParamValue]:
        """The complete settings the next load of this model uses."""
        return self.drafts.values(name, spec, self.app.models.saved_settings(name, spec.name))

    def for_model(self, name: str) -> Updates:
        """Updates that make the settings those of this model. Reads disk and devices: call it in a thread."""
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
            return hide | {self.messages: toast(error, t("tab.model"))}
        choices = [(self.app.registry.get(one).title, one) for one in model.loaders]
        out: Updates = {
            self.panel: gr.update(visible=True),
            self.loader: gr.update(choices=choices, value=spec.name, interactive=len(choices) > 1),
            self.why: why,
        }
        for loader, group in self.groups.items():
            out[group.column] = gr.update(visible=loader == spec.name)
        files = {param.name: self.offered(name, spec, param) for param in spec.params if param.kind == "files"}
        controls = control_updates(self.groups[spec.name], spec, values, files)
        out |= controls | self.follow(name, spec)
        for param in spec.params:
            if param.name in HELD:  # its remark came without its value
                control = self.groups[spec.name].controls[param.name]
                out[control] = out[control] | {"value": controls[control]}
        return out

    def follow(self, name: str, spec: LoaderSpec) -> Updates:
        """Updates of what depends on the settings: the memory they take, and what is said about them."""
        try:
            values = self.values(name, spec)
        except EnginehouseError:
            return {}
        status = self.app.models.status
        running = status.info is not None and (status.model, status.loader) == (name, spec.name)
        saved = self.app.models.saved_settings(name, spec.name)
        remarks = {one["param"]: one["message"] for one in clamped_settings(status)} if running else {}
        group = self.groups[spec.name]
        return {
            self.memory: {"model": name, "loader": spec.name, "settings": values},
            self.saved: settings_words(spec, values, saved),
            **fold_updates(group, spec, values),
            **{group.controls[param.name]: gr.update(info=self._remark(param, values, remarks))
               for param in spec.params if param.name in HELD},
        }  # fmt: skip

    def _remark(self, param: LoadParam, values: Mapping[str, Any], remarks: Mapping[str, str]) -> str:
        """What stands at a setting: that the running engine holds it to another value, else its help."""
        same = self.app.models.status.settings.get(param.name) == values[param.name]
        return remarks.get(param.name, param.help) if same else param.help

    def following(self, spec: LoaderSpec) -> list[Any]:
        """Every component `follow` may update."""
        group = self.groups[spec.name]
        held = [group.controls[param.name] for param in spec.params if param.name in HELD]
        return [self.memory, self.saved, *group.folds.values(), *held]

    def offered(self, name: str, spec: LoaderSpec, param: LoadParam) -> list[str]:
        """Names of the models folder that this setting may name for this model."""
        return [one.name for one in offered(self.app.catalog, param.files, self.app.catalog.get(name), spec)]


def settings_words(spec: LoaderSpec, values: Mapping[str, Any], saved: Mapping[str, Any]) -> str:
    """Which settings are saved ones and which are changed since, for people; "" where all are defaults."""
    labels = {param.name: param.label for param in spec.params}
    kept = [labels[name] for name, value in saved.items() if name in labels and values[name] == value]
    new = [param.label for param in spec.params if values[param.name] != saved.get(param.name, param.default)]
    said = [t("model.saved", names=", ".join(kept))] if kept else []
    said += [t("model.changed", names=", ".join(new))] if new else []
    return " ".join(said)


def model_tab(app: App, tab: gr.Tab, messages: gr.HTML) -> ModelTab:
    """Fill the tab. Call it inside `with tab:`."""
    with gr.Row(elem_classes=["eht-page", "eht-split"], equal_height=False):
        with gr.Column(elem_classes=["eht-list"], min_width=280):
            listing = surface("models_list", "eh-models", "", events=["chosen"])
        with gr.Column(elem_classes=["eht-detail"], min_width=300):
            detail = surface("model_detail", "eh-model-detail", events=["start", "smaller", "ready"])
            with gr.Column(visible=False, elem_classes=["eht-card"]) as panel:
                heading(t("model.settings"))
                loader = gr.Dropdown([], label=t("model.loader"), elem_id="eh-loader", interactive=True)
                why = line("eh-loader-why", classes=["eht-muted"])
                memory = surface("memory_bar", "eh-memory-bar")
                groups = {spec.name: loader_group(spec) for spec in app.registry.specs}
                saved = line("eh-load-saved", classes=["eht-muted"])
                reset = gr.Button(t("params.defaults"), elem_id="eh-load-defaults", size="sm", scale=0)
    made = ModelTab(app, messages, listing, detail, loader, why, memory, saved, panel, reset, groups)
    for spec in app.registry.specs:
        for param in spec.params:
            _bind(made, spec, param)
    _events(made, tab)
    return made


def _bind(made: ModelTab, spec: LoaderSpec, param: LoadParam) -> None:
    async def save(value: Any, model: str) -> ParamValue:
        # Not in a thread: a load that is asked for right after has to find the value.
        return made.drafts.set(made.app.catalog.get(model).name, spec, param.name, value)

    group = made.groups[spec.name]
    bind(
        load_field(spec.name, param),
        group.controls[param.name],
        made.messages,
        save,
        lambda model: made.values(model, spec)[param.name],
        also=made.listing,
        then=(lambda model: made.follow(model, spec), made.following(spec)),
    )


def _events(made: ModelTab, tab: gr.Tab) -> None:
    app = made.app

    async def chosen(name: str) -> Updates:
        return await asyncio.to_thread(made.for_model, name)

    async def pick(loader: str, name: str) -> Updates:
        try:
            app.registry.get(loader)
            file = await asyncio.to_thread(app.catalog.get, name)
            made.drafts.choose(file.name, loader)
        except NotFound as error:
            return {made.messages: toast(error, t("model.loader"))}
        return await asyncio.to_thread(made.for_model, name)

    async def defaults(name: str) -> Updates:
        try:
            spec, _ = await asyncio.to_thread(made.choice, name)
        except EnginehouseError as error:
            return {made.messages: toast(error, t("tab.model"))}
        made.drafts.forget(name, spec)
        await asyncio.to_thread(app.models.forget_settings, name, spec.name)
        found = await asyncio.to_thread(made.for_model, name)
        return found | {made.messages: note(t("model.defaults_done"))}

    async def load(name: str) -> Any:
        # A number that was just typed is saved by its own event, sent before this one; let it arrive.
        await asyncio.sleep(SETTLE)
        return await start_loading(made, name)

    async def ready(name: str) -> Updates:
        try:
            spec, _ = await asyncio.to_thread(made.choice, name)
        except EnginehouseError:  # the file has gone; the list says so
            return {}
        return made.follow(name, spec)

    async def smaller(name: str) -> Updates:
        return await load_smaller(made, name)

    quiet: dict[str, Any] = {"preprocess": False, **QUIET}
    for trigger in (tab.select, made.listing.chosen):
        # By default a second choice is dropped while the first one is being answered.
        trigger(chosen, inputs=[made.listing], outputs=made.outputs, trigger_mode="always_last", **quiet)
    made.loader.input(
        pick, inputs=[made.loader, made.listing], outputs=made.outputs, trigger_mode="always_last", **quiet
    )
    made.reset.click(defaults, inputs=[made.listing], outputs=made.outputs, **quiet)
    made.detail.ready(ready, inputs=[made.listing], outputs=made.outputs, trigger_mode="always_last", **quiet)
    made.detail.smaller(smaller, inputs=[made.listing], outputs=made.outputs, **quiet)
    made.detail.start(load, inputs=[made.listing], outputs=[made.messages], **quiet)


async def start_loading(made: ModelTab, name: str) -> Any:
    """Begin loading and return at once. What happens then reaches every page as model events and notices."""
    try:
        spec, _ = await asyncio.to_thread(made.choice, name)
        made.app.load_in_background(name, spec.name, made.values(name, spec))
    except EnginehouseError as error:
        return toast(error, t("tab.model"))
    return gr.skip()


async def load_smaller(made: ModelTab, name: str) -> Updates:
    """Load with the settings the failed load offered; they are the model's settings from now on."""
    status = made.app.models.status
    offer = (status.error or {}).get("fallback")
    if status.model != name or not status.loader or not offer:
        return {made.messages: note(t("model.no_offer"), "warning")}
    try:
        spec = made.app.registry.get(status.loader)
        made.drafts.put(name, spec, offer["settings"])
        made.app.load_in_background(name, spec.name, made.values(name, spec))
    except EnginehouseError as error:
        return {made.messages: toast(error, t("tab.model"))}
    return await asyncio.to_thread(made.for_model, name)
