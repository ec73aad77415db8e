"""Images for models that see: the marks of a prompt become the model's own tokens, the files its pixels."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import torch
from PIL import Image

from loaders.text.media_mark import MEDIA_MARK, without_marks
from loaders.text.template_message import template_message
from modules.errors import BadRequest, LoadFailed
from modules.messages.parts import ImagePart, TextPart
from modules.types import Message


@dataclass(frozen=True, slots=True)
class Read:
    """A prompt with images.

    inputs    what the model gets beside the tokens
    pictured  tokens up to the end of the last image
    mark      tells these images from others
    """

    tokens: list[int]
    inputs: Mapping[str, Any]
    pictured: int
    mark: str


class ImageProcessor:
    """Wraps a model's processor. Thread-safe, as processors keep nothing.

    in_parts  the chat template wants a message as a list of texts and images, not as one text
    """

    def __init__(self, processor: Any, device: torch.device, dtype: torch.dtype) -> None:
        self._processor = processor
        self._tokenizer = processor.tokenizer
        self._device = device
        self._dtype = dtype
        token = getattr(processor, "image_token", None)
        if not token:
            raise LoadFailed("It is not known how this model marks its images.",
                             hint="Look for a GGUF of it with its mmproj file.")  # fmt: skip
        self._token = str(token)
        self._id = int(self._tokenizer.convert_tokens_to_ids(self._token))
        template = getattr(processor, "chat_template", None) or getattr(self._tokenizer, "chat_template", None) or ""
        self._source = str(template)
        self.in_parts = "image" in self._source

    def render(self, messages: Sequence[Message], variables: Mapping[str, Any], continue_last: bool) -> str:
        """The prompt of a chat, with a mark for each image. Raises BadRequest when the template refuses it."""
        if continue_last and not messages[-1].text.strip():  # stopped before its first word
            messages, continue_last = messages[:-1], False
        shown = [template_message(one, self._in_parts(one), self._source) for one in messages]
        try:
            text = str(self._processor.apply_chat_template(
                shown, tokenize=False, add_generation_prompt=not continue_last, continue_final_message=continue_last,
                **variables,
            ))  # fmt: skip
        except (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
            raise BadRequest(f"The model's chat template does not take this: {str(error)[:300]}",
                             hint="Change the messages, or give the model another template.",
                             code="template_failed") from error  # fmt: skip
        return text.replace(self._token, MEDIA_MARK)

    def _in_parts(self, message: Message) -> list[dict[str, str]]:
        """Texts and images in their order. A text that holds the model's own image token loses it."""
        parts: list[dict[str, str]] = []
        for part in message.content:
            if isinstance(part, ImagePart):
                parts.append({"type": "image"})
            elif isinstance(part, TextPart) and (text := without_marks(part.text.replace(self._token, ""))):
                parts.append({"type": "text", "text": text})
        return parts

    def without(self, prompt: str) -> str:
        """A prompt without images, in case somebody typed the model's token for one."""
        return prompt.replace(self._token, "")

    def read(self, prompt: str, images: Sequence[str]) -> Read:
        """Tokens and pixels of a prompt. Raises BadRequest for a file that is no image."""
        if prompt.count(MEDIA_MARK) != len(images):
            raise BadRequest(f"The prompt has {prompt.count(MEDIA_MARK)} marks for {len(images)} images.",
                             param="images")  # fmt: skip
        text = prompt.replace(self._token, "").replace(MEDIA_MARK, self._token)
        found = self._processor(text=[text], images=[opened(image) for image in images], return_tensors="pt")
        tokens: list[int] = found["input_ids"][0].tolist()
        twice = len(tokens) > 1 and tokens[0] == tokens[1] == self._tokenizer.bos_token_id
        inputs = {}
        for name, value in found.items():
            if name in ("input_ids", "attention_mask") or not isinstance(value, torch.Tensor):
                continue
            if twice and value.shape[:2] == (1, len(tokens)):
                value = value[:, 1:]
            inputs[name] = value.to(self._device, self._dtype if value.is_floating_point() else value.dtype)
        tokens = tokens[1:] if twice else tokens
        last = max((place for place, token in enumerate(tokens) if token == self._id), default=-1)
        return Read(tokens, inputs, last + 1, hashlib.sha256("\n".join(images).encode()).hexdigest())


def opened(image: str) -> Image.Image:
    """An image from base64. Raises BadRequest."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(image, validate=True))) as file:
            return file.convert("RGB")
    except (OSError, ValueError, binascii.Error, Image.DecompressionBombError) as error:
        raise BadRequest(f"An image cannot be read: {error}", param="images") from error
