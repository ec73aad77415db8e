"""What pictures are let in, and that text from people marks no place for one."""

from __future__ import annotations

import base64
import contextlib
import struct
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modules.errors import BadRequest, TooLarge
from modules.messages.images import LONGEST_SIDE, MOST_BYTES, MOST_IMAGES, check_images
from tests.pictures import picture


def coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def png_of(width: int, height: int) -> bytes:
    """A PNG's beginning that tells of this size and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_pictures_of_the_usual_kinds_are_let_in(kind: str) -> None:
    check_images([picture(kind), picture(kind, 300, 200)], "messages")


def test_webp_of_every_flavour_tells_its_size() -> None:
    import io

    from PIL import Image

    for more in ({"lossless": True}, {"lossless": False}, {"lossless": True, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}):
        held = io.BytesIO()
        with Image.new("RGB", (LONGEST_SIDE - 10, 2)) as image:
            image.save(held, "WEBP", **more)  # type: ignore[arg-type]
        check_images([coded(held.getvalue())], "messages")
        huge = bytearray(held.getvalue())
        if huge[12:16] == b"VP8X":
            huge[24:30] = b"\xff\xff\xff\xff\xff\xff"
            with pytest.raises(BadRequest) as caught:
                check_images([coded(bytes(huge))], "messages")
            assert caught.value.code == "image_too_large"


@pytest.mark.parametrize(
    ("image", "code", "says"),
    [
        ("", "bad_image", "empty"),
        ("not base64!", "bad_image", "base64"),
        ("QUJD\nREVG", "bad_image", "base64"),
        ("QUJ", "bad_image", "base64"),
        ("ünïcode", "bad_image", "base64"),
        (coded(b"hello"), "bad_image", "PNG, JPEG, WebP and GIF"),
        (coded(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "bad_image", "PNG"),
        (coded(b"BM" + bytes(60)), "bad_image", "PNG"),
        (coded(b"\x89PNG\r\n\x1a\n"), "bad_image", "broken"),
        (coded(b"\xff\xd8\xff"), "bad_image", "broken"),
        (coded(b"RIFF\0\0\0\0WEBPVP8 "), "bad_image", "broken"),
        (coded(b"GIF89a"), "bad_image", "broken"),
        (coded(png_of(20_000, 20_000)), "image_too_large", "20,000"),
        (coded(png_of(LONGEST_SIDE + 1, 1)), "image_too_large", "16,385"),
        (5, "invalid_parameter", "base64"),
    ],
)
def test_what_is_no_picture_or_too_large_is_refused_by_name(image: Any, code: str, says: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check_images([picture(), image], "messages")
    assert caught.value.code == code
    assert caught.value.message.startswith("Image 2")
    assert says in caught.value.message + caught.value.hint
    assert caught.value.param == "messages"


def test_a_picture_that_would_unpack_to_gigabytes_costs_no_memory() -> None:
    vp8x = b"RIFF\0\0\0\0WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\x3f\x00" * 2
    for data in (png_of(16_000, 16_000), vp8x):
        image = coded(data)
        with pytest.raises(BadRequest):
            check_images([image], "messages")  # what is imported for it counts for nothing
        tracemalloc.start()
        with pytest.raises(BadRequest) as caught:
            check_images([image], "messages")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert caught.value.code == "image_too_large"
        assert peak < 2_000_000


def test_too_many_and_too_heavy_pictures_are_refused() -> None:
    with pytest.raises(BadRequest) as caught:
        check_images([picture()] * (MOST_IMAGES + 1), "messages")
    assert caught.value.code == "too_many_images"
    check_images([picture()] * MOST_IMAGES, "messages")
    with pytest.raises(TooLarge):
        check_images(["A" * (MOST_BYTES // 3 * 4 + 12)], "messages")


BEGINNINGS = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\x10\0\0\0WEBP", png_of(3, 3)[:33]]


@settings(max_examples=300, deadline=None)
@given(start=st.sampled_from(BEGINNINGS), rest=st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(start: bytes, rest: bytes) -> None:
    with contextlib.suppress(BadRequest):
        check_images([coded(start + rest)], "messages")


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(0, 255), st.sampled_from(["PNG", "JPEG", "WEBP", "GIF"]))
def test_a_damaged_picture_is_taken_or_refused(place: int, value: int, kind: str) -> None:
    data = bytearray(base64.b64decode(picture(kind, 30, 20)))
    data[place % len(data)] = value
    with contextlib.suppress(BadRequest):
        check_images([coded(bytes(data))], "messages")
