"""The server: reads the flags, builds the program, serves it. The only file that knows all parts.

python server.py [--help]
"""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from modules.errors import EnginehouseError
from modules.settings.cli import parse
from modules.settings.store import Settings, is_loopback
from modules.version import VERSION
from modules.web.listening import Bound, bind, network_address
from modules.web.run_file import RunFile

if TYPE_CHECKING:
    from fastapi import FastAPI

    from modules.app import App

_log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run until a signal comes. The exit code: 0 after a clean end, 1 when it cannot start, 130 for an early Ctrl+C."""
    settings = parse(argv)
    try:
        return serve(settings)
    except EnginehouseError as error:
        print(f"{error.message} {error.hint}".strip(), file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # Ctrl+C before there was anything to end
        return 130


def serve(settings: Settings) -> int:
    """Build and run. Raises EnginehouseError when something needed is not to be had."""
    # These bring in the web framework: half a second that --help and a wrong flag need not wait for.
    from modules import logs
    from modules.api.build import build
    from modules.api.serving import Serving, fill_page
    from modules.app import App
    from modules.web.proxy_variables import drop_unusable_proxies

    dropped = drop_unusable_proxies()  # before anything could start a thread or a client
    paths = settings.make_paths()
    log = logs.setup(paths.logs, settings.log_level, lambda: [settings.api_key] if settings.api_key else [])
    if dropped:
        _log.warning("Ignored proxy settings that cannot be used: %s. Enginehouse needs no proxy.", ", ".join(dropped))
    settings.on_change.append(lambda name, value: log.set_level(str(value)) if name == "log_level" else None)
    app = App.build(settings)
    settings.make_file()
    built = build(app)
    bound = bind(settings.bind_host, settings.port)
    app.url = bound.url
    run_file = RunFile(paths.run_file)

    def listening() -> None:
        announce(app, bound)
        try:
            run_file.write(bound.url, bound.port.value)
        except EnginehouseError as error:  # only other programs need it
            print(f"{error.message} {error.hint}".strip(), file=sys.stderr)

    server = Serving(built.asgi, listening, app.let_go, run_file.remove)
    if settings.ui:
        server.background.append(functools.partial(fill_page, built.page, functools.partial(make_page, app)))
    try:
        server.run(sockets=list(bound.sockets))
    finally:
        run_file.remove()
    return 0 if server.started else 1


def make_page(app: App) -> FastAPI:
    """The web page as an application of its own. Imports Gradio: seconds, in a thread."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    from fastapi import FastAPI

    from modules.ui.build import mount

    return mount(FastAPI(docs_url=None, redoc_url=None, openapi_url=None), app)


def announce(app: App, bound: Bound) -> None:
    """Say where the server is, and what a person has to know to reach it."""
    settings = app.settings
    lines = [bound.port.why] if bound.port.why and settings.port else []
    lines.append(f"Enginehouse {VERSION} is running: {bound.url}   (Ctrl+C ends it)")
    if not is_loopback(settings.bind_host):
        address = network_address()
        lines += [f"In your network: http://{address}:{bound.port.value}"] if address else []
    key = settings.access_key()
    if key.value:
        made = key.value if settings.has_made_key else "the one you set"
        lines.append(f"Key: {made}")
    lines += [f"{problem['source']}: {problem['message']}" for problem in app.problems()]
    print("\n".join(lines), flush=True)


if __name__ == "__main__":
    sys.exit(main())
