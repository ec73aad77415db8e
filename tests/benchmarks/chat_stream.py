"""How far the screen is behind the last token, in Chromium, with 2, 100 and 500 past messages.

The echo engine writes Markdown at 100 tokens/s. Printed for each length of chat:

lag          from the last byte of the reply's stream (seen by the browser's network process, not by the page) to
             the last change of the message in the page
long tasks   how many times the page's main thread was busy for more than 50 ms, and the longest
p95 frame    time between animation frames while streaming
bytes/token  received on the reply's stream

Aims: lag < 0.3 s, flat; bytes/token < 60.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import CDPSession, Page, sync_playwright
from running import Running, server

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from modules.chats.store import ChatStore

PAST = (
    """Here is what matters, in *three* points:

1. The first is `short_name`, and it is **important**.
2. The second has a [link](https://example.org) and some more words to fill the line.
3. The third is about time.

```python
def area(radius: float) -> float:
    return 3.14159 * radius ** 2
```

"""
    + "A paragraph of plain prose that goes on for a while, as replies do. " * 12
)
WORDS = "The **quick** brown fox jumps over the `lazy` dog and *then* it rests near the river.\n\n- one\n- two\n\n"

WATCH = """
window.__watch = {last: 0, frames: [], long: []};
new PerformanceObserver(list => { for (const e of list.getEntries()) __watch.long.push(e.duration); })
  .observe({type: 'longtask', buffered: false});
window.__start = () => {
  __watch.frames = []; __watch.long = [];
  const log = document.querySelector('[role=log]');
  new MutationObserver(() => { __watch.last = performance.timeOrigin + performance.now(); })
    .observe(log, {subtree: true, childList: true, characterData: true});
  let before = performance.now();
  const tick = now => { __watch.frames.push(now - before); before = now; requestAnimationFrame(tick); };
  requestAnimationFrame(tick);
};
"""


@dataclass
class Wire:
    """What the browser's network process saw of one reply's stream, on the wall clock in seconds."""

    request: str = ""
    offset: float = 0.0
    size: int = 0
    last: float = 0.0
    done: bool = False
    sizes: list[int] = field(default_factory=list)

    def watch(self, session: CDPSession) -> None:
        session.send("Network.enable")
        session.on("Network.requestWillBeSent", self._sent)
        session.on("Network.dataReceived", self._data)
        session.on("Network.loadingFinished", self._finished)
        session.on("Network.loadingFailed", self._finished)  # Chromium 156 says so of some streams read to the end

    def _sent(self, event: dict[str, Any]) -> None:
        if "/replies/" in event["request"]["url"] and event["request"]["method"] == "GET":
            self.request, self.offset = event["requestId"], event["wallTime"] - event["timestamp"]

    def _data(self, event: dict[str, Any]) -> None:
        if event["requestId"] == self.request:
            self.size += event.get("dataLength", 0)
            self.last = event["timestamp"] + self.offset

    def _finished(self, event: dict[str, Any]) -> None:
        if event["requestId"] == self.request:
            self.done = True


def seed(user_data: Path, pairs: int) -> str:
    """A chat with `pairs` questions and answers; its id."""
    store = ChatStore(user_data / "chats")
    chat = store.create(f"{pairs} pairs")
    parent = None
    for index in range(pairs):
        asked = store.add_message(chat.id, parent, "user", f"Question {index}: tell me more.", None)
        answer = store.begin_reply(chat.id, asked.id, "echo")
        store.finish(chat.id, answer.id, PAST, "", "done")
        parent = answer.id
    store.close()
    return str(chat.id)


def one(page: Page, running: Running, chat: str, tokens: int) -> dict[str, float]:
    """Stream one reply in an open chat and read the figures."""
    page.goto(f"{running.url}/#/chat/{chat}")
    page.locator(".eh:not([data-loading]) .eh-write").wait_for(timeout=60_000)
    page.wait_for_timeout(1500)
    wire = Wire()
    session = page.context.new_cdp_session(page)
    wire.watch(session)
    page.evaluate("__start()")
    box = page.get_by_role("textbox", name="Message", exact=True)
    box.fill("Write.")
    box.press("Enter")
    deadline = tokens / 100 + 60
    for _ in range(int(deadline * 10)):
        page.wait_for_timeout(100)
        if wire.done:
            break
    page.wait_for_timeout(1200)
    seen = page.evaluate("({last: __watch.last, frames: __watch.frames, long: __watch.long})")
    frames = sorted(seen["frames"])
    return {
        "lag": seen["last"] / 1000 - wire.last,
        "long": len(seen["long"]),
        "longest": max(seen["long"], default=0.0),
        "p95": frames[int(len(frames) * 0.95)] if frames else 0.0,
        "bytes": wire.size / tokens,
    }


def spread(name: str, runs: list[dict[str, float]]) -> str:
    values = [run[name] for run in runs]
    return f"{name} {statistics.median(values):.3g} ({min(values):.3g}–{max(values):.3g})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, nargs="+", default=[2, 100, 500])
    parser.add_argument("--tokens", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        user_data = Path(folder)
        chats = {count: seed(user_data, count // 2) for count in options.messages}
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        with server(user_data) as running:
            script = (WORDS * (options.tokens // 10))[: options.tokens * 5]
            running.call("/api/models/load?wait=1", {
                "name": "echo", "settings": {"speed": 100.0, "tokens": options.tokens, "script": script}})  # fmt: skip
            for count, chat in chats.items():
                runs = []
                for _ in range(options.repeats):
                    page = browser.new_page(viewport={"width": 1280, "height": 800})
                    page.add_init_script(WATCH)
                    runs.append(one(page, running, chat, options.tokens))
                    page.close()
                print(f"{count} past messages: " + ", ".join(spread(name, runs) for name in runs[0]), flush=True)
        browser.close()


if __name__ == "__main__":
    main()
