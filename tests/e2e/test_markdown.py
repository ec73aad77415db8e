"""What a model writes, on the page: formatted, complete, and never alive."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.conftest import LiveServer
from tests.e2e.conftest import ChatPage, Open

pytestmark = pytest.mark.browser

RICH = r"""# Heading

Some **bold**, *italic*, `code`, a [link](https://example.com/a) and $e^{i\pi}+1=0$. It costs $5 and $10.

1. One
2. Two with `code`
   - nested
   - more
3. Three

- [x] done
- [ ] open

| name | value |
|------|------:|
| a | 1.25 |

> A quote.

$$\int_0^\infty e^{-x^2}\,dx = \frac{\sqrt{\pi}}{2}$$

```python
def double(n):
    return 2 * n  # twice
```

1. In a list:

   ```js
   let a = "<b>";
   ```

See \(a^2\) and [a note][1].

[1]: https://example.com/note
"""

HOSTILE = """<script>window.pwned = 1</script>

<img src=x onerror="window.pwned = 2"> and <svg onload="window.pwned = 3"></svg>

[click](javascript:window.pwned=4) [data](data:text/html,<script>window.pwned=5</script>) <javascript:window.pwned=6>

![inline](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9ImFsZXJ0KDEpIi8+) ![remote](https://evil.example/track.png)

${document.body.setAttribute('data-pwned', '7')} {{constructor.constructor('window.pwned=8')()}}

<iframe src="https://evil.example/"></iframe><object data="https://evil.example/x"></object>

<style>body { display: none }</style><link rel=stylesheet href=https://evil.example/x.css>

<details open ontoggle="window.pwned = 9"><summary>open</summary></details>

<a href="https://example.com" onclick="window.pwned = 10">a link</a>

<form action=https://evil.example><input name=q></form>

$\\href{javascript:window.pwned=11}{x}$ $\\htmlData{x=y}{z}$ $\\includegraphics{https://evil.example/y.png}$

```html"onmouseover="window.pwned=12
<script>window.pwned = 13</script>
```

<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=window.pwned=14&gt;">

The end.
"""

DRAWN = """() => {
    const copy = document.querySelector('.eh-msg[data-role=assistant] .eh-md').cloneNode(true);
    for (const node of copy.querySelectorAll('[id],[aria-controls]')) node.removeAttribute('id');
    return copy.innerHTML;
}"""


def drawn(page: ChatPage) -> str:
    """The reply's markup once formulas and code, which come last, are there and nothing changes any more."""
    reply = page.replies.last
    expect(reply.locator(".katex")).to_have_count(3)
    for code in (0, 1):
        expect(reply.locator(".eh-code").nth(code).locator(".hljs-keyword").first).to_be_visible()
    before = ""
    while (now := str(page.page.evaluate(DRAWN))) != before:
        before = now
        page.page.wait_for_timeout(300)
    return now


def test_a_streamed_reply_looks_the_same_as_the_finished_one(chat: Open, live: LiveServer) -> None:
    live.load_echo(speed=250.0, script=RICH)
    page = chat()
    page.ask("Show me.")
    streamed = drawn(page)
    page.reload()
    assert drawn(page) == streamed


def test_markdown_is_drawn_with_code_formulas_tables_and_safe_links(chat: Open, live: LiveServer) -> None:
    live.load_echo(script=RICH)
    page = chat()
    reply = page.ask("Show me.")
    expect(reply.locator(".katex")).to_have_count(3)
    expect(reply.get_by_text("It costs $5 and $10.")).to_be_visible()
    expect(reply.locator("td[align=right]")).to_have_text("1.25")
    expect(reply.get_by_role("img", name="done")).to_be_visible()
    expect(reply.locator(".eh-code-lang")).to_have_text(["python", "js"])
    expect(reply.get_by_role("link", name="a note")).to_have_attribute("href", "https://example.com/note")
    link = reply.get_by_role("link", name="link", exact=True)
    expect(link).to_have_attribute("target", "_blank")
    expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")


def wait_for_clipboard(page: ChatPage, begins: str) -> None:
    """Wait until a text that begins so has been copied."""
    page.page.wait_for_function(
        "async (begins) => (await navigator.clipboard.readText()).startsWith(begins)", arg=begins
    )


def test_code_can_be_copied_as_it_was_written(chat: Open, live: LiveServer) -> None:
    live.load_echo(script="```python\nif a < b:\n    print('<b>')\n```\n")
    page = chat(permissions=["clipboard-read", "clipboard-write"])
    reply = page.ask("Code.")
    reply.get_by_role("button", name="Copy code").click()
    wait_for_clipboard(page, "if a < b:\n    print('<b>')")
    reply.get_by_role("button", name="Copy message").click()
    wait_for_clipboard(page, "```python\nif a < b:")


@pytest.mark.parametrize("speed", [0.0, 400.0])
def test_hostile_text_is_shown_and_does_nothing(chat: Open, live: LiveServer, speed: float) -> None:
    live.load_echo(speed=speed, script=HOSTILE)
    page = chat()
    reply = page.ask(HOSTILE)
    expect(reply).to_contain_text("The end.")
    expect(reply).to_contain_text("<script>window.pwned = 1</script>")
    expect(page.own.last).to_contain_text("${document.body.setAttribute")
    for link in reply.locator(".eh-md a").all():
        link.dispatch_event("click")
        assert (link.get_attribute("href") or "").startswith("https://")
    reply.locator(".eh-code").first.hover()
    page.page.wait_for_timeout(400)
    for loaded in (page, page.reload()):
        page.page.wait_for_timeout(300)
        assert loaded.page.evaluate("window.pwned ?? document.body.dataset.pwned ?? null") is None
        left = ".eh-md :is(script, img, iframe, object, style, link, form, svg[onload], [onclick], [ontoggle])"
        assert loaded.page.locator(left).count() == 0
        assert loaded.page.locator("body").is_visible()
    for extra in page.page.context.pages[1:]:
        extra.close()


def test_a_chat_title_cannot_carry_markup(chat: Open, live: LiveServer) -> None:
    live.load_echo()
    page = chat()
    page.ask("<img src=x onerror='window.pwned=1'> ${window.pwned=2}")
    row = page.page.locator(".eh-chat-open[aria-current]")
    expect(row).to_contain_text("<img src=x")
    page.reload()
    assert page.page.evaluate("window.pwned ?? null") is None


def test_a_formula_that_is_wrong_stays_text(chat: Open, live: LiveServer) -> None:
    live.load_echo(script=r"Here: $\frac{1$ and $\notacommand{x}$ and $x+1$.")
    page = chat()
    reply = page.ask("Formulas.")
    expect(reply.locator(".katex")).to_have_count(1)
    expect(reply.locator(".eh-math-raw").last).to_contain_text(r"\notacommand")
