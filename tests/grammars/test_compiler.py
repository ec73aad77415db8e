"""Grammars and schemas are compiled in a child process first: what cannot be enforced is refused, whatever it does."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from modules.errors import BadParameter
from modules.grammars import compiler
from modules.grammars.compiler import ConstraintChecks, ask_child

pytestmark = pytest.mark.anyio


async def refused(grammar: str = "", schema: dict[str, Any] | None = None) -> BadParameter:
    with pytest.raises(BadParameter) as caught:
        await ConstraintChecks().check(grammar, schema)
    return caught.value


@pytest.mark.parametrize(
    ("grammar", "words"),
    [
        ("root ::= " + "(" * 60_000 + '"a"' + ")" * 60_000, "nested"),
        ("root ::= " + "(" * 60_000, "nested"),
        ('\0root ::= "a"', "name of a rule"),
        ("root ::= other", "no rule called"),
        ('root ::= "a"{1,10000000}', "repetition"),
        ("\n%llguidance {}\nstart: %json {}", "GBNF"),
        ("root ::= root", "no text fits"),
        ('root ::= "<" root', "no text fits"),
        ("root ::= " + '("a"?) ' * 3000 + '"b"', "gives up"),
    ],
    ids=[
        "deep",
        "open",
        "NUL",
        "unknown rule",
        "repetition",
        "own language",
        "no text",
        "no end",
        "3000 optional parts",
    ],
)
async def test_a_hostile_or_wrong_grammar_is_refused(grammar: str, words: str) -> None:
    error = await refused(grammar)
    assert (error.status, error.param) == (400, "grammar")
    assert words in error.message
    assert len(error.message) < 500


@pytest.mark.parametrize(
    "grammar",
    ['root ::= "a" [0-9]+', "root ::= " + '("a"?) ' * 300 + '"b"', 'root ::= <[3]> "a" <think>', 'root ::= "a"'],
    ids=["plain", "300 optional parts", "tokens", "one text"],
)
async def test_a_grammar_that_can_be_enforced_passes(grammar: str) -> None:
    assert await ConstraintChecks().check(grammar, None) is None


async def test_a_schema_that_no_text_fits_is_refused() -> None:
    error = await refused(schema={"$ref": "#"})
    assert error.code == "schema_unsupported"
    assert "no text fits" in error.message


async def test_one_text_is_compiled_once_for_all_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def ask(kind: str, text: str) -> str:
        asked.append(text)
        await asyncio.sleep(0)
        return "no good" if "bad" in text else ""

    monkeypatch.setattr(compiler, "ask_child", ask)
    checks = ConstraintChecks()
    for _ in range(2):
        await asyncio.gather(*(checks.check("", {"type": "object"}) for _ in range(4)))
        with pytest.raises(BadParameter, match="no good"):
            await checks.check("", {"type": "bad"})
    assert len(asked) == 2


async def test_a_check_whose_asker_hangs_up_goes_on_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def ask(kind: str, text: str) -> str:
        begun.set()
        await go_on.wait()
        return ""

    monkeypatch.setattr(compiler, "ask_child", ask)
    checks = ConstraintChecks()
    first, second = (asyncio.create_task(checks.check("", {})) for _ in range(2))
    await begun.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    go_on.set()
    assert await second is None


async def test_a_check_that_broke_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts: list[Any] = [OSError("no process"), ""]

    async def ask(kind: str, text: str) -> str:
        verdict = verdicts.pop(0)
        if isinstance(verdict, Exception):
            raise verdict
        return str(verdict)

    monkeypatch.setattr(compiler, "ask_child", ask)
    checks = ConstraintChecks()
    with pytest.raises(OSError, match="no process"):
        await checks.check("", {})
    assert await checks.check("", {}) is None


async def test_what_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "CHECK_SECONDS", 0.0)
    checks = ConstraintChecks()
    with pytest.raises(BadParameter, match="too long"):
        await checks.check("", {})
    monkeypatch.undo()
    assert await checks.check("", {}) is None, "a busy machine refuses nothing for good"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux bounds the child's memory by itself")
async def test_the_compilers_memory_is_bounded() -> None:
    code = "from modules.grammars import compiler_process; compiler_process._limit(); held = bytearray(4 << 30)"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=compiler.ROOT, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert b"MemoryError" in said


async def test_without_the_compiler_it_is_used_unchecked_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(kind: str, text: str) -> None:
        return None

    monkeypatch.setattr(compiler, "ask_child", ask)
    cases: list[tuple[str, dict[str, Any] | None, str]] = [
        ("", {}, "schema_unchecked"), ('root ::= "a"', None, "grammar_unchecked"),
    ]  # fmt: skip
    for grammar, schema, code in cases:
        notice = await ConstraintChecks().check(grammar, schema)
        assert notice is not None
        assert notice.code == code


async def test_the_child_answers_for_itself() -> None:
    assert await ask_child("grammar", 'root ::= "a"') == ""
    assert "uniqueItems" in str(await ask_child("schema", '{"uniqueItems": true, "type": "array"}'))
