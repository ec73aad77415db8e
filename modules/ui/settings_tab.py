"""The Settings tab: the SETTINGS table as controls, each saving itself to settings.yaml."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import gradio as gr
from gradio.components import Component

from modules.errors import EnginehouseError
from modules.settings.setting import Setting
from modules.settings.store import SETTINGS
from modules.ui.fields import QUIET, bind, make, note, setting_field, shown, toast
from modules.ui.surface import heading, line, surface
from modules.ui.text import label, t

if TYPE_CHECKING:
    from modules.app import App

Updates = dict[Any, Any]

BOUNDARIES = frozenset({
    "host", "listen", "allowed_hosts", "cors_origins", "models_dir", "user_data_dir", "extensions", "ui",
    "allow_pickle",
    "llama_server",
})  # fmt: skip
"""Settings that decide who gets in, which files are reached, which code runs, or whether this page is there. A
browser shows them; they are changed in settings.yaml or at the start: no page may widen what keeps it in."""

THEME_JS = "(value) => { window.enginehouseTheme?.(value); return value; }"


@dataclass(slots=True)
class SettingsTab:
    """The tab's components and what updates them."""

    app: App
    messages: gr.HTML
    controls: dict[str, Component]
    fixed: gr.HTML
    restart: gr.HTML
    key_state: gr.HTML
    port_state: gr.HTML
    remove: gr.Button

    def everything(self) -> Updates:
        """Updates that make the tab show what is stored."""
        settings = self.app.settings
        out: Updates = {
            self.controls[one.name]: shown(setting_field(one), settings.stored(one.name))
            for one in editable()
            if not one.secret
        }
        for name, choices in named_choices(self.app).items():
            out[self.controls[name]] = gr.update(choices=choices, value=settings.stored(name))
        return out | self.words()

    def words(self) -> Updates:
        """Updates of the sentences only."""
        settings = self.app.settings
        waiting = settings.waiting_for_restart
        return {
            self.restart: "" if not waiting else t("settings.waiting", names=", ".join(waiting)),
            self.key_state: key_words(bool(settings.stored("api_key")), bool(settings.get("api_key"))),
            self.port_state: port_words(settings.stored("port"), self.app.url),
            self.remove: gr.update(visible=bool(settings.stored("api_key"))),
            self.fixed: fixed_rows(self.app),
        }

    @property
    def outputs(self) -> list[Any]:
        """Every component this tab's events may update."""
        return [
            *self.controls.values(),
            self.fixed,
            self.restart,
            self.key_state,
            self.port_state,
            self.remove,
            self.messages,
        ]


def editable() -> list[Setting]:
    """The settings that have a control."""
    return [one for one in SETTINGS if one.in_file and one.name not in BOUNDARIES]


def named_choices(app: App) -> dict[str, list[tuple[str, str]]]:
    """Settings that name something there is a list of: what can be picked."""
    models = [(model.name, model.name) for model in app.catalog.scan() if model.runnable]
    loaders = [(spec.title, spec.name) for spec in app.registry.specs]
    return {"model": [(t("settings.no_model"), ""), *models], "loader": [(t("settings.best_loader"), ""), *loaders]}


def settings_tab(app: App, tab: gr.Tab, messages: gr.HTML) -> SettingsTab:
    """Fill the tab. Call it inside `with tab:`."""
    controls: dict[str, Component] = {}
    offered = named_choices(app)
    with gr.Column(elem_classes=["eht-page"]):
        restart = line("eh-settings-restart", classes=["eht-notice"])
        with gr.Column(elem_classes=["eht-cards"]):
            for group, members in groupby(editable(), key=lambda one: one.group):
                with gr.Column(elem_classes=["eht-card"]):
                    heading(label(f"setting.group.{group}", group))
                    for one in members:
                        field = setting_field(one)
                        value = "" if one.secret else shown(field, app.settings.stored(one.name))
                        if one.name in offered:
                            controls[one.name] = gr.Dropdown(
                                offered[one.name], value=value, label=field.label, info=field.help,
                                elem_id=field.elem_id, allow_custom_value=True,
                            )  # fmt: skip
                        else:
                            controls[one.name] = make(field, value)
                        if one.name == "port":
                            port_state = line("eh-port-state", classes=["eht-muted"])
                        if one.secret:
                            key_state = line("eh-key-state", classes=["eht-muted"])
                            remove = gr.Button(
                                t("settings.remove_key"), elem_id="eh-key-remove", size="sm", scale=0, visible=False
                            )
            with gr.Column(elem_classes=["eht-card"]):
                heading(t("settings.fixed"))
                fixed = surface("definition_list", "eh-settings-fixed")
    made = SettingsTab(app, messages, controls, fixed, restart, key_state, port_state, remove)
    for one in editable():
        _bind(made, one)
    _events(made, tab)
    return made


def _bind(made: SettingsTab, setting: Setting) -> None:
    settings = made.app.settings

    async def save(value: Any) -> Any:
        # A secret is never sent to the browser, so an empty box means "as it was", not "none".
        if value == "" and setting.secret:
            return ""
        if setting.kind == "int" and isinstance(value, float) and value.is_integer():
            value = int(value)
        kept = await asyncio.to_thread(settings.set, setting.name, value)
        return "" if setting.secret else kept

    def current() -> Any:
        return "" if setting.secret else settings.stored(setting.name)

    bind(setting_field(setting), made.controls[setting.name], made.messages, save, current,
         js=THEME_JS if setting.name == "theme" else None, then=(made.words, made.outputs))  # fmt: skip


def _events(made: SettingsTab, tab: gr.Tab) -> None:
    async def refresh() -> Updates:
        return made.everything()

    async def remove_key() -> Updates:
        settings = made.app.settings
        if not settings.stored("api_key"):
            return made.words() | {made.messages: note(t("settings.no_key"))}
        try:
            await asyncio.to_thread(settings.set, "api_key", "")
        except EnginehouseError as error:
            return {made.messages: toast(error, t("setting.api_key.label"))}
        said = t("settings.key_removed_later") if settings.get("api_key") else t("settings.key_removed")
        return made.words() | {made.messages: note(said)}

    tab.select(refresh, outputs=made.outputs, trigger_mode="always_last", **QUIET)
    made.remove.click(remove_key, outputs=made.outputs, **QUIET)


def port_words(stored: int, url: str) -> str:
    """The port in use when it is not the one set: that was taken, or another was given at the start."""
    used = urlsplit(url).port
    return t("settings.port_used", port=str(used)) if used and used != stored else ""


def key_words(stored: bool, in_force: bool) -> str:
    """Whether there is a key, without the key."""
    if stored:
        return t("settings.key_stored")
    if in_force:
        return t("settings.key_run")
    return t("settings.no_key")


def fixed_rows(app: App) -> list[dict[str, str]]:
    """The boundary settings as rows for the page: what they are and how to change them."""
    out = []
    for one in SETTINGS:
        if one.name not in BOUNDARIES:
            continue
        value = app.settings.get(one.name)
        if isinstance(value, (list, tuple)):
            value = ", ".join(str(item) for item in value)
        words = {True: t("settings.yes"), False: t("settings.no"), "": t("settings.unset")}.get(value, value)
        flag = f"--no-{one.flag.removeprefix('--')}" if value is True else one.flag
        how = t("settings.how", help=label(f"setting.{one.name}.help", one.help), flag=flag)
        out.append({"name": setting_field(one).label, "value": str(words), "help": how})
    return out
