"""The settings of every loader as controls: one hidden column per loader, its groups as folds.

A loader may have fifty settings, and most people change three. So the first group is open and the others are closed,
each saying how many of its settings are changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from gradio.components import Component

from loaders.base import LoaderSpec, LoadParam
from modules.ui.fields import load_field, make, shown
from modules.ui.text import t

Updates = dict[Any, Any]


@dataclass(slots=True)
class LoaderGroup:
    """One loader's controls. `folds` is empty where it has a single group."""

    column: gr.Column
    controls: dict[str, Component] = field(default_factory=dict)
    folds: dict[str, gr.Accordion] = field(default_factory=dict)

    @property
    def outputs(self) -> list[Any]:
        """Every component an event may update."""
        return [self.column, *self.controls.values(), *self.folds.values()]


def sections(spec: LoaderSpec) -> dict[str, list[LoadParam]]:
    """The loader's settings by the heading they stand under, both in the spec's order."""
    found: dict[str, list[LoadParam]] = {}
    for param in spec.params:
        found.setdefault(param.group, []).append(param)
    return found


def loader_group(spec: LoaderSpec) -> LoaderGroup:
    """The loader's column, to be called where it is to stand."""
    with gr.Column(visible=False, elem_classes=["eht-loader"]) as column:
        made = LoaderGroup(column)
        found = sections(spec)
        for number, (name, params) in enumerate(found.items()):
            if len(found) == 1:
                _controls(made, spec, params)
                continue
            with gr.Accordion(name, open=number == 0, elem_classes=["eht-fold"],
                              elem_id=f"eh-fold-{spec.name}-{name}".lower().replace(" ", "-").replace(".", "-")
                              ) as made.folds[name]:  # fmt: skip
                _controls(made, spec, params)
    return made


def _controls(made: LoaderGroup, spec: LoaderSpec, params: Iterable[LoadParam]) -> None:
    with gr.Column(elem_classes=["eht-grid"]):
        for param in params:
            row = load_field(spec.name, param)
            made.controls[param.name] = make(row, shown(row, param.default))


def fold_updates(made: LoaderGroup, spec: LoaderSpec, values: Mapping[str, Any]) -> Updates:
    """The folds' headings: each says how many settings below it are not the loader's defaults."""
    out: Updates = {}
    for name, params in sections(spec).items():
        if name in made.folds:
            changed = sum(values[param.name] != param.default for param in params)
            out[made.folds[name]] = gr.update(
                label=t("model.group_changed", name=name, count=changed) if changed else name
            )
    return out


def control_updates(
    made: LoaderGroup, spec: LoaderSpec, values: Mapping[str, Any], files: Mapping[str, Sequence[str]]
) -> Updates:
    """The controls with these values; `files` are the names a setting of files may choose from, by setting."""
    out: Updates = {}
    for param in spec.params:
        value = shown(load_field(spec.name, param), values[param.name])
        if param.kind == "files":
            chosen = value if isinstance(value, list) else []
            out[made.controls[param.name]] = gr.update(choices=[*files.get(param.name, ()), *chosen], value=value)
        else:
            out[made.controls[param.name]] = value
    return out
