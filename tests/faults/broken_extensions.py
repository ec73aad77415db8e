"""Broken extensions, all at once: the program starts, each is named with its reason, a reply still works.

    python tests/faults/broken_extensions.py          with a real server (some hang: it waits for their limits)

`write_all` makes the folders; tests/test_extensions.py uses them with short limits.
"""

from __future__ import annotations

import sys
import textwrap
import time
from pathlib import Path
from tempfile import TemporaryDirectory

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

TOP = "import asyncio, time\nfrom modules.extension_api import *\n"

# name → (script, a word its reason has to hold, where the fault shows: "start" or "reply")
BROKEN: dict[str, tuple[str, str, str]] = {
    "import_error": ("from modules.extension_api import no_such_name", "no_such_name", "start"),
    "missing_package": ("import a_package_nobody_has", "a_package_nobody_has", "start"),
    "exits_at_import": ("import sys; sys.exit(3)", "sys.exit", "start"),
    "syntax_error": ("def (:", "SyntaxError", "start"),
    "hangs_at_import": ("import time; time.sleep(3600)", "longer than", "start"),
    "wrong_signature": ("@hookimpl\ndef edit_request(request, no_such_argument): ...", "no_such_argument", "start"),
    "wraps_hooks": ("@hookimpl(wrapper=True)\ndef edit_request(request):\n    return (yield)", "wrappers", "start"),
    "setup_raises": ("@hookimpl\ndef setup(context): 1 / 0", "ZeroDivisionError", "start"),
    "setup_hangs": ("@hookimpl\ndef setup(context): time.sleep(3600)", "longer than", "start"),
    "routes_nonsense": ("@hookimpl\ndef routes(context): return 7", "int instead of an APIRouter", "start"),
    "loaders_nonsense": ("@hookimpl\ndef loaders(): return ['x', 3]", "instead of a LoaderSpec", "start"),
    "edit_raises": ("@hookimpl\ndef edit_request(request): raise KeyError('oops')", "oops", "reply"),
    "edit_nonsense": ("@hookimpl\ndef edit_request(request): return 'a string'", "str instead of", "reply"),
    "edit_invalid": (
        "from dataclasses import replace\n@hookimpl\ndef edit_request(request):\n"
        "    return replace(request, params={'temperature': 'warm'})",
        "temperature", "reply",
    ),
    "edit_exits": ("@hookimpl\ndef edit_request(request): raise SystemExit(1)", "sys.exit", "reply"),
    "edit_hangs": ("@hookimpl\ndef edit_request(request): time.sleep(3600)", "longer than", "reply"),
    "edit_hangs_async": (
        "@hookimpl\nasync def edit_request(request): await asyncio.sleep(3600)", "longer than", "reply",
    ),
    "wrap_nonsense": ("@hookimpl\ndef wrap_stream(chunks): return [1, 2]", "list instead of", "reply"),
    "wrap_raises": (
        "@hookimpl\nasync def wrap_stream(chunks):\n    async for c in chunks:\n"
        "        if isinstance(c, Text): raise RuntimeError('halfway')\n        yield c",
        "halfway", "reply",
    ),
    "wrap_yields_nonsense": (
        "@hookimpl\nasync def wrap_stream(chunks):\n    async for c in chunks:\n        yield 'text'",
        "no chunk", "reply",
    ),
    "wrap_hangs": (
        "@hookimpl\nasync def wrap_stream(chunks):\n    async for c in chunks:\n"
        "        if isinstance(c, Text): await asyncio.sleep(3600)\n        yield c",
        "longer than", "reply",
    ),
}  # fmt: skip


def write_all(folder: Path) -> list[str]:
    """Make one extension folder per kind; gives back the names."""
    for name, (script, _, _) in BROKEN.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        imports = "" if "import" in name or name == "syntax_error" else TOP
        (folder / name / "script.py").write_text(imports + textwrap.dedent(script) + "\n", encoding="utf-8")
    return list(BROKEN)


def main() -> int:
    """Start a real server with all of them; print the figure."""
    from tests import conftest

    conftest.START_SECONDS = 120
    with TemporaryDirectory() as folder:
        user_data = Path(folder)
        names = write_all(user_data / "extensions")
        began = time.monotonic()
        live = conftest.start_server(user_data, "--extensions", "openai", *names)
        started = time.monotonic() - began
        try:
            live.load_echo()
            body = {"model": "echo", "messages": [{"role": "user", "content": "still here"}]}
            live.http.timeout = 120
            answer = live.call("POST", "/v1/chat/completions", body)
            problems = {one["source"]: one["message"] for one in live.call("GET", "/api/state")["problems"]}
        finally:
            live.stop()
    missing = [n for n, (_, word, _) in BROKEN.items() if word not in problems.get(f"extension {n}", "")]
    said = {notice["param"] for notice in answer["enginehouse"]["notices"]}
    unsaid = [n for n, (_, _, when) in BROKEN.items() if when == "reply" and n not in said]
    text = answer["choices"][0]["message"]["content"]
    print(
        f"{len(names)} broken extensions at once: started in {started:.1f} s, reply {text!r}, "
        f"{len(missing)} without their reason {missing}, {len(unsaid)} not said in the reply {unsaid}"
    )
    return 1 if missing or unsaid or text != "still here" else 0


if __name__ == "__main__":
    sys.exit(main())
