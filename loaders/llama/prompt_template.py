"""The chat template of a running llama.cpp server, rendered in our worker as on every other loader.

The server's own /apply-template runs another Jinja and sets variables of its own (`enable_thinking` is on), so that the
same chat would give another prompt than `tokenizer.apply_chat_template`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loaders.llama.probe_http import first_piece
from loaders.text.template import ChatTemplate
from loaders.text.template_probe import probe
from modules.errors import BadRequest
from modules.types import Message, TemplateTraits


class ServerTemplate:
    """Renders for /completion, which puts the beginning-of-text token before a prompt itself.

    source  the template's text; "" = ChatML
    props   the server's answer to /props
    bos     the text of the token the server puts before every prompt, "" = none
    """

    def __init__(self, source: str, props: Mapping[str, Any], bos: str) -> None:
        self.traits = TemplateTraits()
        self._bos = bos
        self._error: BadRequest | None = None
        try:
            self._template = ChatTemplate(source, str(props.get("bos_token") or ""), str(props.get("eos_token") or ""))
            self.traits = probe(self._template)
        except BadRequest as error:  # the model can still answer raw prompts
            self._error = error

    def render(self, messages: tuple[Message, ...], variables: Mapping[str, Any], continue_last: bool) -> str:
        """See ChatTemplate.render."""
        if self._error is not None:
            raise self._error
        return self._template.render(messages, variables, continue_last).removeprefix(self._bos)


def server_template(source: str, address: str, key: str, props: Mapping[str, Any]) -> ServerTemplate:
    """The template of a server that runs; `source` is its text, "" = none."""
    bos = str(props.get("bos_token") or "")
    return ServerTemplate(source, props, bos if bos and first_piece(address, key) == bos else "")
