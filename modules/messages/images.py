"""Checks the images of a request: kind, size in bytes and pixels, number.

Pictures come from anywhere, and engines read them with C libraries. So each is looked at before: that it is a PNG,
JPEG, WebP or GIF, and that it does not unpack to more than MOST_PIXELS. Only headers are read.
"""

from __future__ import annotations

import base64
import binascii
import io
import struct
from collections.abc import Iterable, Sequence

from modules.errors import BadParameter, BadRequest, TooLarge
from modules.messages.message import Message

MOST_IMAGES = 64  # in one request
MOST_BYTES = 16 * 1024 * 1024  # of one file
MOST_PIXELS = 40_000_000  # 160 MB when unpacked with an alpha channel; engines scale them down to a few megapixels
LONGEST_SIDE = 16_384
_KINDS = "PNG, JPEG, WebP and GIF"


def all_of(messages: Iterable[Message]) -> tuple[str, ...]:
    """The images of these messages, in order."""
    return tuple(image for message in messages for image in message.images)


def check_images(images: Sequence[str], param: str) -> None:
    """Look at each; some milliseconds for large ones, so call it in a thread. Raises BadRequest or TooLarge."""
    if len(images) > MOST_IMAGES:
        raise BadRequest(
            f"The request holds {len(images)} images, and {MOST_IMAGES} is the most.",
            hint="Leave out those that are no longer needed.", param=param, code="too_many_images")  # fmt: skip
    for number, image in enumerate(images, 1):
        which = "The image" if len(images) == 1 else f"Image {number}"
        width, height = _size(_bytes(image, which, param), which, param)
        if width * height > MOST_PIXELS or max(width, height) > LONGEST_SIDE:
            raise BadRequest(
                f"{which} has {width:,} x {height:,} pixels, and {MOST_PIXELS:,} in all and {LONGEST_SIDE:,} a side "
                "is the most.", hint="Make it smaller; models see less than that anyway.", param=param,
                code="image_too_large")  # fmt: skip


def _bytes(image: str, which: str, param: str) -> bytes:
    """The file itself. Raises BadParameter for what is no base64, TooLarge."""
    if not isinstance(image, str):
        raise BadParameter(f"{which} has to be a base64 text.", param=param)
    if len(image) > MOST_BYTES // 3 * 4 + 8:
        raise TooLarge(f"{which} is larger than {MOST_BYTES // 1024**2} MB.", hint="Make it smaller, or save it as "
                       "JPEG.", param=param, code="image_too_large")  # fmt: skip
    try:
        data = base64.b64decode(image, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadParameter(
            f"{which} is not valid base64: {error}.",
            hint="Send the file's bytes in standard base64, with its padding and without line breaks.",
            param=param,
            code="bad_image",
        ) from None
    if not data:
        raise BadParameter(f"{which} is empty.", param=param, code="bad_image")
    return data


def _size(data: bytes, which: str, param: str) -> tuple[int, int]:
    """Width and height by the header. Raises BadParameter for what is none of the kinds, or broken."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp_size(data, which, param)  # Pillow would make room for all of its pixels to tell its size
    from PIL import GifImagePlugin, JpegImagePlugin, PngImagePlugin

    readers = (
        (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
        (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
        (b"GIF8", GifImagePlugin.GifImageFile),
    )
    reader = next((reader for magic, reader in readers if data.startswith(magic)), None)
    if reader is None:
        raise BadParameter(f"{which} is not a picture of a kind that is understood here.",
                           hint=f"Those are {_KINDS}.", param=param, code="bad_image")  # fmt: skip
    try:
        with reader(io.BytesIO(data)) as picture:
            width, height = picture.size
    except Exception as error:  # whatever a hostile file does to the parser, it is the file's fault
        raise _broken(which, param) from error
    if width < 1 or height < 1:
        raise _broken(which, param)
    return width, height


def _webp_size(data: bytes, which: str, param: str) -> tuple[int, int]:
    """Source: https://developers.google.com/speed/webp/docs/riff_container"""
    chunk, body = data[12:16], data[20:30]
    if chunk == b"VP8X" and len(body) == 10:
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if chunk == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 " and len(body) == 10 and body[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", body[6:10])
        if width & 0x3FFF and height & 0x3FFF:
            return width & 0x3FFF, height & 0x3FFF
    raise _broken(which, param)


def _broken(which: str, param: str) -> BadParameter:
    return BadParameter(f"{which} is broken: its header cannot be read.", hint="Save it again, as PNG or JPEG.",
                        param=param, code="bad_image")  # fmt: skip
