"""A package index on this machine: tiny hand-made wheels behind the simple index protocol, and a request log."""

from __future__ import annotations

import base64
import hashlib
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote


def make_wheel(folder: Path, name: str, version: str, files: dict[str, bytes], tag: str = "py3-none-any") -> Path:
    """Write a wheel with these files and a correct RECORD (PEP 427)."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    content = dict(files)
    content[f"{info}/METADATA"] = metadata.encode()
    content[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n".encode()
    rows = []
    for path, data in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(data)}")
    rows.append(f"{info}/RECORD,,")
    content[f"{info}/RECORD"] = ("\n".join(rows) + "\n").encode()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(target, "w") as wheel:
        for path, data in content.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = (0o100755 if "/scripts/" in path else 0o100644) << 16  # pip keeps what may be run
            wheel.writestr(entry, data)
    return target


def _metadata(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return next(archive.read(name) for name in archive.namelist() if name.endswith(".dist-info/METADATA"))


class LocalIndex:
    """Serves each folder below `root` as one index: root/simple/*.whl at <url>/simple/<project>/."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.requests: list[str] = []
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.requests.append(self.path)
                index.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                """Quiet: the request log is kept above."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = unquote(handler.path.split("?")[0]).strip("/")
        file = self.root / path
        if path.endswith(".whl") and file.is_file():
            self._send(handler, 200, "application/octet-stream", file.read_bytes())
            return
        if path.endswith(".whl.metadata") and (wheel := self.root / path.removesuffix(".metadata")).is_file():
            self._send(handler, 200, "text/plain", _metadata(wheel))
            return
        folder, _, project = path.rpartition("/")
        wheels = sorted((self.root / folder).glob(f"{project.replace('-', '_')}-*.whl")) if project else []
        if not wheels:
            self._send(handler, 404, "text/plain", b"not here")
            return
        links = []
        for wheel in wheels:
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            # The second attribute is the older spelling (PEP 658 and PEP 714).
            told = 'data-core-metadata="true" data-dist-info-metadata="true"'
            links.append(f'<a href="{self.url}/{folder}/{wheel.name}#sha256={digest}" {told}>{wheel.name}</a>')
        self._send(handler, 200, "text/html", ("<html><body>" + "\n".join(links) + "</body></html>").encode())

    def _send(self, handler: BaseHTTPRequestHandler, status: int, kind: str, body: bytes) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
