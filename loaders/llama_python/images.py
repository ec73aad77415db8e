"""Images in a prompt, through the package's multimodal interface (mtmd) and the model's image part."""

from __future__ import annotations

import base64
import ctypes
import hashlib
import io
from collections.abc import Callable
from typing import Any

from llama_cpp import mtmd_cpp as mtmd

from loaders.base import NamedFile
from loaders.llama_python.model import LlamaModel
from loaders.llama_python.sequence import Prompt
from loaders.llama_python.vocabulary import Vocabulary
from loaders.text.media_mark import MEDIA_MARK
from modules.errors import BadRequest, EngineError, LoadFailed


class ImagePart:
    """A loaded mmproj file. Raises LoadFailed. Used from the thread that generates alone."""

    def __init__(self, loaded: LlamaModel, vocabulary: Vocabulary, file: NamedFile, batch: int, threads: int) -> None:
        params = mtmd.mtmd_context_params_default()
        params.print_timings = False
        params.media_marker = MEDIA_MARK.encode()
        if threads:
            params.n_threads = threads
        self._context = loaded.context
        self._vocabulary = vocabulary
        self._batch = batch
        self._part = mtmd.mtmd_init_from_file(file.path.encode(), loaded.model, params)
        if not self._part or not mtmd.mtmd_support_vision(self._part):
            why = loaded.reason or "it is no image part for this model"
            raise LoadFailed(f"llama.cpp did not load the image part {file.name}: {why}")

    def prompt(self, text: str, images: tuple[str, ...]) -> Prompt:
        """The text with an image in place of each mark. Raises BadRequest when their numbers differ."""
        if (marks := text.count(MEDIA_MARK)) != len(images):
            raise BadRequest(f"There are {len(images)} images, but {marks} places for them in the prompt.",
                             param="images")  # fmt: skip
        if text.endswith(MEDIA_MARK):  # the interface gives no logits behind an image
            raise BadRequest("The prompt ends with an image; it has to end with text.", param="prompt")
        files = [base64.b64decode(image) for image in images]
        bitmaps = [_bitmap(data) for data in files]
        chunks = mtmd.mtmd_input_chunks_init()
        data = text.encode("utf-8", "replace")
        given = mtmd.mtmd_input_text(data, len(data), True, True)
        array = (mtmd.mtmd_bitmap_p_ctypes * len(bitmaps))(*bitmaps)
        code = mtmd.mtmd_tokenize(self._part, chunks, ctypes.byref(given), array, len(bitmaps))
        for bitmap in bitmaps:
            mtmd.mtmd_bitmap_free(bitmap)
        if code:
            mtmd.mtmd_input_chunks_free(chunks)
            raise EngineError(f"llama.cpp could not read the images (mtmd_tokenize returned {code}).")
        return self._joined(chunks, [_number(one) for one in files])

    def _joined(self, chunks: Any, numbers: list[int]) -> Prompt:
        """Text and images, one after the other. One image may come in several chunks; which of them belong to it
        cannot be asked, so then all images together name each."""
        prompt = Prompt([], close=lambda: mtmd.mtmd_input_chunks_free(chunks))
        found = [mtmd.mtmd_input_chunks_get(chunks, place) for place in range(mtmd.mtmd_input_chunks_size(chunks))]
        parts = [chunk for chunk in found if mtmd.mtmd_input_chunk_get_type(chunk) != mtmd.MTMD_INPUT_CHUNK_TYPE_TEXT]
        if len(parts) != len(numbers):
            numbers = [_number(repr((numbers, part)).encode()) for part in range(len(parts))]
        names = iter(numbers)
        for chunk in found:
            count = int(mtmd.mtmd_input_chunk_get_n_tokens(chunk))
            prompt.tokens += count
            if mtmd.mtmd_input_chunk_get_type(chunk) == mtmd.MTMD_INPUT_CHUNK_TYPE_TEXT:
                pointer = mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(ctypes.c_size_t()))
                prompt.slots += [int(pointer[number]) for number in range(count)]
            else:
                first, width = len(prompt.slots), int(mtmd.mtmd_input_chunk_get_n_pos(chunk))
                prompt.slots += [next(names)] * width
                prompt.images[first] = (first + width, self._compute(chunk))
        bos = self._vocabulary.bos
        if prompt.slots[:2] == [bos, bos]:  # a chat template writes the first token itself
            del prompt.slots[0]
            prompt.tokens -= 1
            prompt.images = {first - 1: (end - 1, compute) for first, (end, compute) in prompt.images.items()}
        return prompt

    def _compute(self, chunk: Any) -> Callable[[int], int]:
        """How this image is computed at a place; the code is 0 when it was."""

        def compute(place: int) -> int:
            after = mtmd.llama_cpp.llama_pos()
            return int(mtmd.mtmd_helper_eval_chunk_single(
                self._part, self._context, chunk, place, 0, self._batch, True, ctypes.byref(after)
            ))  # fmt: skip

        return compute

    def close(self) -> None:
        mtmd.mtmd_free(self._part)


def _bitmap(data: bytes) -> Any:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as file:
        image = file.convert("RGB")
    pixels = image.tobytes()
    return mtmd.mtmd_bitmap_init(*image.size, (ctypes.c_uint8 * len(pixels)).from_buffer_copy(pixels))


def _number(data: bytes) -> int:
    """A negative number, the same for the same bytes."""
    return -1 - int.from_bytes(hashlib.sha256(data).digest()[:6])
