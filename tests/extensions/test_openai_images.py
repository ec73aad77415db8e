"""Images, adapters and negative prompts over the OpenAI API, with an echo engine that takes them."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from extensions.openai.messages import read_messages
from loaders.text.media_mark import MEDIA_MARK, marked_text, without_marks
from modules.errors import BadParameter
from tests.conftest import LiveServer, running_server
from tests.extensions.asking import client_of, user
from tests.pictures import data_url, picture

RED, BLUE = picture(color="red"), picture("JPEG", color="blue")


def seen(image: str) -> str:
    """What the echo engine says of an image."""
    return f"[image {zlib.crc32(image.encode()):08x}]"


def image(url: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


@pytest.fixture(scope="module", params=[True, False], ids=["prompts", "chats"])
def seeing(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LiveServer, openai.OpenAI]]:
    """A server whose echo engine offers everything, once with prompts and once with chats it renders itself."""
    with running_server(tmp_path_factory.mktemp("seeing")) as live:
        live.load_echo(images=50, adapters="style, tone", negative=True, renders=request.param, context=2048)
        with client_of(live) as client:
            yield live, client


def answer(client: openai.OpenAI, content: Any, stream: bool = False, **more: Any) -> tuple[str, dict[str, Any]]:
    """The reply's text and the "enginehouse" part of the answer."""
    made: Any = client.chat.completions.create(
        model="echo", messages=[{"role": "user", "content": content}], stream=stream, extra_body=more
    )
    if not stream:
        return made.choices[0].message.content, made.model_extra["enginehouse"]
    events = list(made)
    return "".join(e.choices[0].delta.content or "" for e in events), events[-1].model_extra["enginehouse"]


@pytest.mark.parametrize("stream", [False, True])
def test_images_are_seen_where_they_stand(seeing: tuple[LiveServer, openai.OpenAI], stream: bool) -> None:
    _, client = seeing
    parts = [text("this "), image(data_url(RED)), text(" or "), image(data_url(BLUE, "jpeg")), text("?")]
    said, extra = answer(client, parts, stream)
    assert said == f"this {seen(RED)} or {seen(BLUE)}?"
    assert extra["notices"] == []
    assert extra["stats"]["prompt_tokens"] > 100


def test_images_before_the_text_and_in_the_other_shapes_are_seen_too(
    seeing: tuple[LiveServer, openai.OpenAI],
) -> None:
    _, client = seeing
    said, _ = answer(client, [image(data_url(RED)), text("what?")])
    assert said == f"{seen(RED)}what?"
    other = [{"type": "input_image", "image_url": data_url(BLUE)}, {"type": "input_text", "text": "and?"}]
    assert answer(client, other)[0] == f"{seen(BLUE)}and?"
    assert answer(client, [{"type": "image_url", "image_url": data_url(RED)}])[0] == seen(RED)
    said, extra = answer(client, [{**image(None), "image_url": {"url": data_url(RED), "detail": "low"}}, text("x")])
    assert said == f"{seen(RED)}x"
    assert [notice["code"] for notice in extra["notices"]] == ["without_effect"]


def test_a_mark_in_somebodys_text_is_only_text(seeing: tuple[LiveServer, openai.OpenAI]) -> None:
    _, client = seeing
    for content in (f"a {MEDIA_MARK} b", [text(f"a {MEDIA_MARK} b")]):
        assert answer(client, content)[0].replace("\u200b", "") == f"a {MEDIA_MARK} b"
    said, _ = answer(client, [text(MEDIA_MARK), image(data_url(RED))])
    assert said.replace("\u200b", "") == MEDIA_MARK + seen(RED)
    made = client.completions.create(model="echo", prompt=f"a {MEDIA_MARK}")
    assert made.choices[0].text.replace("\u200b", "") == f"a {MEDIA_MARK}"
    variables = {"chat_template_kwargs": {"date": MEDIA_MARK}, "negative_prompt": MEDIA_MARK, "guidance_scale": 2.0}
    assert MEDIA_MARK not in answer(client, "x", **variables)[0]


def test_the_ledger_counts_images_and_drops_them_with_their_messages(
    seeing: tuple[LiveServer, openai.OpenAI],
) -> None:
    _, client = seeing
    messages: list[Any] = []
    for n in range(12):
        messages += [{"role": "user", "content": [*[image(data_url(RED))] * 5, text(f"m{n}")]},
                     {"role": "assistant", "content": "ok"}]  # fmt: skip
    messages.append({"role": "user", "content": [text("last "), image(data_url(BLUE))]})
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="echo", messages=messages)
    made = client.chat.completions.create(
        model="echo", messages=messages[8:], max_tokens=20, extra_body={"context_overflow": "drop_oldest"}
    )
    extra = made.model_extra["enginehouse"]  # type: ignore[index]
    assert extra["context"]["dropped_messages"] > 0
    assert extra["context"]["prompt_tokens"] + 20 <= 2048
    assert "context_dropped" in [notice["code"] for notice in extra["notices"]]
    assert caught.value.code in ("context_length_exceeded", "too_many_images")
    assert str(made.choices[0].message.content).startswith("last [image")


def test_adapters_and_a_negative_prompt_arrive(seeing: tuple[LiveServer, openai.OpenAI]) -> None:
    _, client = seeing
    assert answer(client, "x", lora={"style": 0.5})[0] == "x lora={'style': 0.5}"
    assert answer(client, "x", lora=[{"name": "tone", "scale": 2}])[0] == "x lora={'tone': 2.0}"
    assert answer(client, "x", lora={})[0] == "x lora={}"
    said, extra = answer(client, "x", negative_prompt="sad", guidance_scale=1.5)
    assert said == "x negative=sad"
    assert [(n["code"], n["param"]) for n in extra["notices"]] == [("sampler_ignored", "guidance_scale")]
    _, extra = answer(client, "x", negative_prompt="sad")
    assert [(n["code"], n["param"]) for n in extra["notices"]] == [("without_effect", "negative_prompt")]
    made = client.completions.create(model="echo", prompt="x", extra_body={"lora": {"style": 1}})
    assert made.choices[0].text == "x lora={'style': 1.0}"


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"lora": {"stile": 1}}, "lora"),
        ({"lora": {"style": 11}}, "lora"),
        ({"lora": {"style": "much"}}, "lora.style"),
        ({"lora": {"style": True}}, "lora.style"),
        ({"lora": [{"id": 0, "scale": 1}]}, "lora"),
        ({"lora": [{"name": "style"}, {"name": "style"}]}, "lora"),
        ({"lora": "style"}, "lora"),
        ({"negative_prompt": 5}, "negative_prompt"),
    ],
)
def test_wrong_adapters_are_named(seeing: tuple[LiveServer, openai.OpenAI], more: dict[str, Any], param: str) -> None:
    _, client = seeing
    with pytest.raises(openai.BadRequestError) as caught:
        answer(client, "x", **more)
    assert caught.value.param == param
    if more["lora" if "lora" in more else "negative_prompt"] == {"stile": 1}:
        assert "style, tone" in str(caught.value)


BAD = [
    (image("https://example.com/cat.png"), "fetches nothing"),
    (image("http://127.0.0.1/cat.png"), "fetches nothing"),
    (image("file:///etc/passwd"), "fetches nothing"),
    (image("DATA:image/png,abc"), "base64"),
    (image("data:image/png;base64,@@@"), "base64"),
    (image("data:image/png;base64,"), "empty"),
    (image("data:image/png;base64,aGVsbG8="), "PNG, JPEG"),
    (image(5), "image_url"),
    ({"type": "image_url"}, "image_url"),
    ({"type": "input_audio", "input_audio": {"data": "x"}}, "Audio"),
    ({"type": "file", "file": {}}, "Files"),
]


@pytest.mark.parametrize(("part", "says"), BAD, ids=lambda value: str(value)[-40:])
def test_what_is_no_image_is_refused_with_the_reason(
    shared_server: LiveServer, part: dict[str, Any], says: str
) -> None:
    body = {"model": "echo", "messages": [{"role": "user", "content": [text("x"), part]}]}
    reply = shared_server.http.post("/v1/chat/completions", json=body)
    assert reply.status_code == 400, reply.text
    assert says in reply.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_sees_nothing_says_so(shared_server: LiveServer, stream: bool) -> None:
    body = {"model": "echo", "messages": [{"role": "user", "content": [image(data_url(RED))]}], "stream": stream}
    reply = shared_server.http.post("/v1/chat/completions", json=body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "unsupported")
    assert "images" in reply.json()["error"]["message"]


def test_only_a_user_shows_images() -> None:
    for role in ("system", "assistant", "developer"):
        with pytest.raises(BadParameter):
            read_messages([{"role": role, "content": [image(data_url(RED))]}])


@pytest.mark.parametrize("stream", [False, True])
def test_a_sampler_the_loader_does_not_have_is_said_streamed_or_not(client: openai.OpenAI, stream: bool) -> None:
    _, extra = answer(client, "x", stream, top_k=5, negative_prompt="sad")
    assert [(notice["code"], notice["param"]) for notice in extra["notices"]] == [
        ("sampler_ignored", "top_k"), ("without_effect", "negative_prompt"),
    ]  # fmt: skip


PARTS = st.lists(
    st.builds(text, st.text(max_size=5) | st.sampled_from([MEDIA_MARK, "<__", "media__>"]))
    | st.just(image(data_url(RED))),
    max_size=7,
)


@example([text("<__"), text("media__>"), image(data_url(RED)), text("x")])
@example([text("<__"), text("media__>")])
@given(PARTS)
def test_parts_keep_their_order_and_each_image_one_place(parts: list[dict[str, Any]]) -> None:
    messages, notices = read_messages([{"role": "user", "content": parts}])
    message = messages[0]
    images = sum(part["type"] == "image_url" for part in parts)
    assert message.images == (RED,) * images
    assert notices == ()
    whole = marked_text(message)
    around = [""]
    for part in parts:
        around[-1] += part.get("text", "")
        around += [""] * (part["type"] == "image_url")
    assert whole.split(MEDIA_MARK) == [without_marks(one) for one in around]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just(data_url(RED)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "text", "image_url", "url", "detail", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


KINDS = st.sampled_from(["text", "image_url", "input_image", "file"]) | JSON
STRANGE = st.fixed_dictionaries({"type": KINDS}, optional={"text": JSON, "image_url": JSON, "detail": JSON})


@given(st.lists(STRANGE, max_size=3) | JSON)
def test_any_content_is_read_or_refused(content: Any) -> None:
    with contextlib.suppress(BadParameter):
        messages, _ = read_messages([{"role": "user", "content": content}])
        assert all(isinstance(one, str) for one in messages[0].images)


def test_a_chat_goes_on_after_an_image(seeing: tuple[LiveServer, openai.OpenAI]) -> None:
    _, client = seeing
    messages: list[Any] = [{"role": "user", "content": [image(data_url(RED)), text("x")]},
                           {"role": "assistant", "content": "ok"}, *user("and now?")]  # fmt: skip
    made = client.chat.completions.create(model="echo", messages=messages)
    assert made.choices[0].message.content == "and now?"
