"""Ending a call of the model in its middle: before each layer it is asked whether the work is still wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

Asked = Callable[[], bool]


class Stopped(Exception):
    """Nobody wants what is being computed. Caches have what stood in them before, except the library's own ones."""


def layers_of(model: nn.Module) -> tuple[nn.Module, ...]:
    """The parts a model is a stack of, of its text and of its pictures; not what these are made of in turn."""
    found: list[nn.Module] = []
    for child in model.children():
        found.extend(child if isinstance(child, nn.ModuleList) else layers_of(child))
    return tuple(found)


@contextmanager
def stoppable(layers: Sequence[nn.Module], asked: Asked) -> Iterator[None]:
    """While this holds, a layer that is about to be computed raises Stopped once `asked` is true.

    A graphics card computes behind the program, so there a call ends within what has been handed to the card.
    Costs some 10 µs a layer, which is nothing beside a piece of a prompt and much beside a token.
    """

    def look(*_: Any) -> None:
        if asked():
            raise Stopped

    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        look()
        yield
    finally:
        for hook in hooks:
            hook.remove()
