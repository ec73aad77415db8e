"""Replies of all kinds in Chromium: each character is seen, or is markup that is drawn (docs/markdown.md)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Route

from modules.web.assets import WEB_FOLDER

pytestmark = pytest.mark.browser
TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}
PAGE = """<!doctype html><html><head><meta charset="utf-8"><link rel="stylesheet" href="/tokens.css">
<link rel="stylesheet" href="/css/base.css"><link rel="stylesheet" href="/css/markdown.css">
<style>.eh-code-head, .eh-img span { display: none }</style></head><body class="eh"></body></html>"""
# Formulas and colors come later and from elsewhere: here the text they are made of is looked at.
DRAW = """async (texts) => {
    const { MarkdownTools, MarkdownView } = await import('/markdown/markdown_view.js');
    const { makeParser } = await import('/markdown/parser.js');
    const tools = new MarkdownTools({ parser: makeParser(), math: { render() {} }, highlighter: { add() {} } });
    let seed = 7;
    const random = (most) => (seed = (seed * 48271) % 2147483647) % most;
    const draw = (text, pieces) => {
        const host = document.createElement('div');
        host.className = 'eh-md';
        document.body.append(host);
        const view = new MarkdownView(host, tools);
        for (const end of pieces) view.update(text.slice(0, end), false);
        view.update(text, true);
        return host;
    };
    const cuts = (text, most) => {
        const found = [];
        for (let at = 1 + random(most); at < text.length; at += 1 + random(most)) found.push(at);
        return found;
    };
    return texts.map((text) => {
        const whole = draw(text, []);
        const streamed = [1, 4, 20].map((most) => draw(text, cuts(text, most)).innerHTML);
        const [task, below] = [whole.querySelector('.eh-task'), whole.querySelector('.eh-task ul')];
        const indent = below ? below.getBoundingClientRect().left - task.getBoundingClientRect().left : null;
        const plain = whole.querySelector('.eh-plain') !== null;
        return { html: whole.innerHTML, seen: whole.innerText, plain, streamed, indent };
    });
}"""


def replies() -> list[tuple[str, str, str]]:
    """Name, text and what of it has to be seen."""
    parts = re.split(r"^=== (.+)\n", (Path(__file__).parent / "markdown_corpus.txt").read_text("utf-8"), flags=re.M)
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return [(name, re.sub("[‹›]", "", text), re.sub("‹[^›]*›", "", text)) for name, text in pairs]


def lines(text: str) -> list[str]:
    """The lines that are not blank, without their spaces and without the box of a task, which stands for "[ ]"."""
    return [line for line in (re.sub(r"[\s☐☑]+", "", line) for line in text.splitlines()) if line]


@pytest.fixture(scope="module")
def drawn(browser: Browser) -> list[dict[str, Any]]:
    """What the page makes of each reply, all on one page."""

    def serve(route: Route) -> None:
        path = WEB_FOLDER / route.request.url.split("/", 3)[3]
        if path.is_file():
            route.fulfill(body=path.read_bytes(), content_type=TYPES.get(path.suffix, "text/plain"))
        else:
            route.fulfill(body=PAGE, content_type="text/html")

    page = browser.new_page()
    page.route("**/*", serve)
    page.goto("http://corpus.test/page")
    found: list[dict[str, Any]] = page.evaluate(DRAW, [text for _, text, _ in replies()])
    page.close()
    return found


def test_there_are_replies_of_more_than_a_hundred_kinds() -> None:
    names = [name for name, _, _ in replies()]
    assert len(set(names)) == len(names) > 100


def test_each_character_is_seen_on_its_line(drawn: list[dict[str, Any]]) -> None:
    wrong = {
        name: (lines(shown), lines(reply["seen"]), reply["html"])
        for (name, _, shown), reply in zip(replies(), drawn, strict=True)
        if reply["plain"] or lines(shown) != lines(reply["seen"])
    }
    told = [f"{name}:\n  wanted {a}\n  seen   {b}\n  {html}" for name, (a, b, html) in wrong.items()]
    assert not wrong, "\n".join(told)


def test_a_reply_that_arrives_in_pieces_ends_as_the_whole_one(drawn: list[dict[str, Any]]) -> None:
    for (name, _, _), reply in zip(replies(), drawn, strict=True):
        for streamed in reply["streamed"]:
            assert streamed == reply["html"], name


def test_a_list_below_a_task_stands_below_its_text(drawn: list[dict[str, Any]]) -> None:
    [indent] = [reply["indent"] for reply in drawn if reply["indent"] is not None]
    assert indent > 10
