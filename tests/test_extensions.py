"""Extensions: found, imported, set up; and whatever they do, replies go on."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modules.extension_api import ModelAccess, Services
from modules.extensions import Extensions
from modules.generation.pipeline import Generation
from modules.hooks import specs as hookspecs
from modules.hooks.manager import HookLimits
from modules.types import Chunk, Done, GenerationRequest, Message, Notice, Text
from tests.engine_stand_in import Lender, StandIn
from tests.faults.broken_extensions import BROKEN, write_all

pytestmark = pytest.mark.anyio
SHORT = HookLimits(start=2.0, request=1.0, chunk=1.0)
"""For extensions that hang; the others have the program's own limits, which a busy machine does not reach."""
TOP = "from dataclasses import replace\nfrom modules.extension_api import *\n"


@dataclass
class Place:
    """The folders of one test: shipped extensions and a person's own."""

    shipped: Path
    extensions: Path

    def write(self, name: str, script: str, own: bool = False, **files: str) -> None:
        folder = (self.extensions if own else self.shipped) / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "script.py").write_text(TOP + textwrap.dedent(script), encoding="utf-8")
        for file, text in files.items():
            (folder / f"{file}.py").write_text(text, encoding="utf-8")

    def load(self, *names: str, limits: HookLimits | None = None) -> Extensions:
        extensions = Extensions(self, names, self.shipped, limits)
        extensions.load_all()
        return extensions


@pytest.fixture
def place(tmp_path: Path) -> Place:
    for name in ("shipped", "own"):
        (tmp_path / name).mkdir()
    return Place(tmp_path / "shipped", tmp_path / "own")


def services(generation: Any = None) -> Services:
    return Services(generation, ModelAccess(None, None), None, {"port": 1})  # type: ignore[arg-type]


async def replied(extensions: Extensions, engine: StandIn | None = None, prompt: str = "hello") -> list[Chunk]:
    engine = engine or StandIn([Text("one "), Text("two"), Done("stop")])
    lender = Lender(engine)
    generation = Generation(lender, extensions.hooks)
    request = GenerationRequest("r", messages=(Message("user", prompt),))
    chunks = [chunk async for chunk in generation.stream(request)]
    assert lender.out == 0
    return chunks


def texts(chunks: Iterable[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks if isinstance(chunk, Text))


def said(chunks: Iterable[Chunk]) -> list[str]:
    return [chunk.message for chunk in chunks if isinstance(chunk, Notice)]


async def test_every_kind_of_broken_extension_at_once_leaves_replies_working(place: Place) -> None:
    names = write_all(place.shipped)
    extensions = place.load(*names, limits=SHORT)
    extensions.loaders()
    await asyncio.to_thread(extensions.set_up, services())
    extensions.routers()
    chunks = await replied(extensions)
    assert texts(chunks) == "one two"
    assert isinstance(chunks[-1], Done)
    found = {info.name: info for info in extensions.loaded}
    for name, (_, word, when) in BROKEN.items():
        assert not found[name].ok, name
        assert word in found[name].problem, (name, found[name].problem)
        if when == "reply":
            assert any(name in line and word in line for line in said(chunks)), (name, said(chunks))


async def test_a_hook_that_hung_is_not_waited_for_again(place: Place) -> None:
    place.write("slow", "import time\n@hookimpl\ndef edit_request(request): time.sleep(60)")
    extensions = place.load("slow", limits=SHORT)
    assert any("off until the next start" in line for line in said(await replied(extensions)))
    assert said(await replied(extensions)) == []


async def test_an_edit_changes_the_request_and_the_next_extension_sees_it(place: Place) -> None:
    script = """
        @hookimpl
        def edit_request(request):
            last = request.messages[-1]
            return replace(request, messages=(Message(last.role, last.text + "{0}"),), id="other")
        """
    place.write("first", script.format("1"))
    place.write("second", script.format("2").replace("def", "async def"))
    engine = StandIn()
    assert said(await replied(place.load("first", "second"), engine)) == []
    assert engine.requests[0].prompt == "user: hello21"  # last in the list is asked first, as pluggy does it
    assert engine.requests[0].id == "r"


async def test_a_wrapper_changes_the_text_as_it_streams(place: Place) -> None:
    place.write("loud", """
        @hookimpl
        async def wrap_stream(request, chunks):
            async for chunk in chunks:
                yield replace(chunk, text=chunk.text.upper()) if isinstance(chunk, Text) else chunk
        """)  # fmt: skip
    chunks = await replied(place.load("loud"))
    assert texts(chunks) == "ONE TWO"
    assert isinstance(chunks[-1], Done)


async def test_a_wrapper_can_end_a_reply_early_and_the_engine_stops(place: Place) -> None:
    place.write("short", """
        @hookimpl
        async def wrap_stream(chunks):
            async for chunk in chunks:
                yield chunk
                if isinstance(chunk, Text):
                    yield Done("stop")
        """)  # fmt: skip
    engine = StandIn([Text("one "), 30, Text("two"), Done("stop")])
    chunks = await replied(place.load("short"), engine)
    assert (texts(chunks), engine.running, engine.cancelled) == ("one ", 0, 1)


async def test_a_wrapper_that_swallows_the_end_does_not_keep_it(place: Place) -> None:
    place.write("swallow", """
        @hookimpl
        async def wrap_stream(chunks):
            async for chunk in chunks:
                if isinstance(chunk, Text):
                    yield chunk
        """)  # fmt: skip
    chunks = await replied(place.load("swallow"))
    assert texts(chunks) == "one two"
    assert [type(chunk) for chunk in chunks].count(Done) == 1
    assert isinstance(chunks[-1], Done)


async def test_a_slow_engine_is_not_the_wrappers_fault(place: Place) -> None:
    place.write("plain", """
        @hookimpl
        async def wrap_stream(chunks):
            async for chunk in chunks:
                yield chunk
        """)  # fmt: skip
    chunks = await replied(place.load("plain"), StandIn([Text("a"), 0.8, Text("b"), Done("stop")]))
    assert (texts(chunks), said(chunks)) == ("ab", [])


async def test_without_extensions_the_stream_is_not_wrapped_at_all(place: Place) -> None:
    async def source() -> Any:
        yield Done("stop")

    stream = source()
    assert place.load().hooks.wrap_stream(GenerationRequest("r"), stream) is stream
    await stream.aclose()


def test_a_persons_own_extension_wins_over_the_shipped_one(place: Place) -> None:
    place.write("thing", "VERSION = '1'")
    place.write("thing", "VERSION = '2'", own=True)
    (info,) = place.load("thing").loaded
    assert (info.version, info.ok, info.folder) == ("2", True, str(place.extensions / "thing"))


def test_an_extension_may_have_several_files(place: Place) -> None:
    place.write("many", "from .other import VERSION", other="VERSION = '7'")
    assert place.load("many").loaded[0].version == "7"


def test_names_that_are_no_names_are_refused(place: Place) -> None:
    extensions = place.load("../own", "a/b", "", "nowhere")
    assert [info.ok for info in extensions.loaded] == [False] * 4
    assert "There are: none" in extensions.loaded[-1].problem


def test_what_is_there_is_listed(place: Place) -> None:
    place.write("b", "")
    place.write("a", "", own=True)
    assert place.load().available() == ("a", "b")


def test_an_extension_gets_its_context_and_its_options(place: Place) -> None:
    place.write("thing", "seen = []\n@hookimpl\ndef setup(context): seen.append(context)")
    (place.extensions / "thing.yaml").write_text("colour: red\n", encoding="utf-8")
    extensions = place.load("thing")
    extensions.set_up(services("the pipeline"))
    import sys

    context = sys.modules["enginehouse_extensions.thing.script"].seen[0]
    assert (context.name, context.options["colour"], context.generation) == ("thing", "red", "the pipeline")
    assert context.folder == place.shipped / "thing"


def test_options_that_cannot_be_read_are_told_and_left_out(place: Place) -> None:
    place.write("thing", "")
    (place.extensions / "thing.yaml").write_text("{", encoding="utf-8")
    (info,) = place.load("thing").loaded
    assert info.ok
    assert "thing.yaml" in info.problem


def test_a_hook_of_a_later_version_is_told_and_the_rest_works(place: Place) -> None:
    place.write("future", "@hookimpl\ndef paint_the_wall(): ...\n@hookimpl\ndef loaders(): return []")
    extensions = place.load("future")
    assert extensions.loaded[0].ok
    assert "paint_the_wall" in extensions.loaded[0].problem
    assert extensions.loaders() == ()


def test_a_loader_of_an_extension_is_found(place: Place) -> None:
    place.write("engine", """
        @hookimpl
        def loaders():
            return [LoaderSpec("mine", "Mine", ("gguf",), (), {}, frozenset(), "x:load")]
        """)  # fmt: skip
    assert [spec.name for spec in place.load("engine").loaders()] == ["mine"]


def test_every_hook_is_documented() -> None:
    hooks = [name for name, value in vars(hookspecs).items() if hasattr(value, "enginehouse_spec")]
    text = (Path(__file__).parent.parent / "docs" / "extensions.md").read_text("utf-8")
    assert set(hooks) == {"setup", "loaders", "routes", "edit_request", "wrap_stream"}
    for name in hooks:
        assert f"`{name}(" in text
        assert getattr(hookspecs, name).__doc__


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ("lora={'style': 'much'}", "lora"),
        ("lora=['style']", "lora"),
        ("lora={5: 1.0}", "lora"),
        ("negative_prompt=None", "negative_prompt"),
        ("images='abc'", "images"),
        ("messages=('hello',)", "messages"),
        ("messages=(Message('user', (5,)),)", "messages"),
        ("messages=(Message('user', (TextPart(5),)),)", "messages"),
        ("messages=(Message('user', (ImagePart(5),)),)", "messages"),
        ("messages=(Message('assistant', 'x', tool_calls=('abc',)),)", "messages"),
        ("tools='abc'", "tools"),
    ],
)
async def test_an_edit_of_the_wrong_type_is_named_and_left_out(place: Place, change: str, field: str) -> None:
    place.write("odd", f"@hookimpl\ndef edit_request(request): return replace(request, {change})")
    engine = StandIn()
    chunks = await replied(place.load("odd"), engine)
    assert texts(chunks) == "hi"
    assert [line for line in said(chunks) if f"no valid {field}" in line]
    assert engine.requests[0].prompt == "user: hello"


async def test_an_edit_can_use_every_field_a_request_has(place: Place) -> None:
    place.write("all", """
        from tests.pictures import picture

        @hookimpl
        def edit_request(request):
            first = Message("user", (ImagePart(picture()), *request.messages[0].content))
            return replace(request, messages=(first,), lora={"style": 0.5}, negative_prompt="sad",
                           params={"guidance_scale": 2.0})
        """)  # fmt: skip
    engine = StandIn(adapters={"style": 1.0})
    chunks = await replied(place.load("all"), engine)
    assert texts(chunks) == "hi"
    request = engine.requests[0]
    assert (len(request.images), request.lora, request.negative_prompt) == (1, {"style": 0.5}, "sad")
