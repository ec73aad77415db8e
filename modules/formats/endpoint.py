"""Reads an endpoint file: `NAME.endpoint.yaml` in the models folder names a server that has a model already.

    url: http://10.0.0.5:8000
    model: Qwen/Qwen3-8B          # its name at the server; left out = the only one there
    key_env: MY_SERVER_KEY        # the environment variable with the key; or `key:` with the key itself
    flavour: auto                 # openai, vllm, sglang, tensorrt-llm, llama-server

The file on disk is the only place an address comes from: no request can name one. The key and the headers are
secrets, so they are left out of the values' repr and of every message.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from modules.errors import Unsupported
from modules.formats.problems import Problem, Reason

ENDING = ".endpoint.yaml"
FLAVOURS = ("auto", "openai", "vllm", "sglang", "tensorrt-llm", "llama-server")
LARGEST = 64 * 1024
DEFAULT_TIMEOUT = 300.0
DEFAULT_PARALLEL = 8
_NAMES = {
    "url": "the server's address", "model": "the model's name there",
    "key": "the key", "key_env": "the environment variable with the key", "flavour": "which kind of server",
    "context": "tokens", "parallel": "replies at the same time", "headers": "further HTTP headers",
    "verify": "check its certificate", "ca_file": "certificates to trust, a PEM file",
    "timeout": "seconds of silence", "images": "whether the model takes images",
}  # fmt: skip
_SPELLINGS = {"flavor": "flavour", "api_key": "key", "base_url": "url", "api_key_env": "key_env", "type": "flavour"}
_ROUTERS = "a router such as LiteLLM's proxy, Ray Serve or vLLM's router; docs/remote.md says how"
_OWN_HEADERS = frozenset({"host", "content-length", "content-type", "connection", "transfer-encoding", "authorization",
                          "accept-encoding", "upgrade", "expect", "te", "trailer"})  # fmt: skip


class EndpointError(Unsupported):
    """An endpoint file that cannot be used; the message names what is wrong, the hint how to put it right."""

    code = "bad_endpoint_file"

    @property
    def problem(self) -> Problem:
        """The same as the reason of an entry of the model list."""
        return Problem.of(Reason.ENDPOINT, message=self.message, hint=self.hint)


@dataclass(frozen=True, slots=True)
class EndpointFile:
    """One endpoint file.

    url       the address as written, without a "/" at the end
    model     its name at the server, "" = the only one the server has
    key       the key itself, "" = none or in `key_env`
    key_env   name of the environment variable that holds it
    flavour   one of FLAVOURS
    context   tokens one request may use; 0 = as the server says
    parallel  replies at the same time; 0 = DEFAULT_PARALLEL
    headers   further headers of every request
    verify    whether the certificate of an https address is checked
    ca_file   a PEM file of certificates to trust instead of the system's, "" = the system's
    timeout   seconds without a sign of life after which a reply counts as lost
    images    whether the model takes images, which no server tells
    """

    url: str
    model: str = ""
    key: str = field(default="", repr=False)
    key_env: str = ""
    flavour: str = "auto"
    context: int = 0
    parallel: int = 0
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    verify: bool = True
    ca_file: str = ""
    timeout: float = DEFAULT_TIMEOUT
    images: bool = False

    def secret(self) -> str:
        """The key, from the file or from the environment. Raises EndpointError when the variable is not set."""
        if not self.key_env:
            return self.key
        found = os.environ.get(self.key_env, "").strip()
        if not found or not found.isprintable() or not found.isascii():
            problem = "is not set" if not found else "holds characters that no key has"
            raise EndpointError(
                f"The environment variable {self.key_env}, which is to hold the key, {problem}.",
                hint="Set it where the program is started, and start the program again.",
                code="endpoint_key_missing",
            )
        return found

    @property
    def sends_to(self) -> str:
        """The host that text goes to, "" when it is this machine."""
        host = urlsplit(self.url).hostname or ""
        return "" if is_this_machine(host) else host


def is_this_machine(host: str) -> bool:
    """Whether a host name or address is loopback."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def read_endpoint(path: Path) -> EndpointFile:
    """The endpoint file at `path`. Raises EndpointError; reads at most LARGEST bytes and opens no connection."""
    try:
        with open(path, "rb") as file:
            raw = file.read(LARGEST + 1)
    except OSError as error:
        said = f"{path.name} cannot be read: {error.strerror}."
        raise EndpointError(said, hint="Look at its permissions.") from error
    if len(raw) > LARGEST:
        said = f"{path.name} is larger than {LARGEST // 1024} KiB."
        raise EndpointError(said, hint="An endpoint file is a few lines.")
    try:
        values = yaml.safe_load(raw.decode("utf-8-sig"))
    except (yaml.YAMLError, UnicodeError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)  # without the text round it, which may be the key
        where = f" (line {mark.line + 1})" if mark is not None else ""
        raise EndpointError(f"{path.name} is not YAML{where}.", hint="It has lines of “name: value”.") from None
    if not isinstance(values, dict):
        raise EndpointError(f"{path.name} has no lines of “name: value”.", hint="It needs at least: url: http://…")
    return _checked(path, {str(name): value for name, value in values.items()})


def _checked(path: Path, values: Mapping[str, Any]) -> EndpointFile:
    _known(path, values)
    if "key" in values and "key_env" in values:
        raise EndpointError(f"{path.name} has both key and key_env.", hint="Leave one of them out.")
    read = _Values(path.name, values)
    key_env = read.text("key_env")
    if key_env.startswith("ENGINEHOUSE_"):
        raise EndpointError(f"key_env in {path.name} begins with ENGINEHOUSE_, and engines are not given those.",
                            hint="Give the variable another name.")  # fmt: skip
    flavour = read.text("flavour") or "auto"
    if flavour not in FLAVOURS:
        raise EndpointError(f"flavour in {path.name} is {flavour[:40]!r}.", hint="It has to be one of: "
                            + ", ".join(FLAVOURS) + ".")  # fmt: skip
    ca_file = read.text("ca_file")
    return EndpointFile(
        url=_url(path.name, _address(path.name, values)),
        model=read.text("model"), key=_key(path.name, values), key_env=key_env,
        flavour=flavour, context=int(read.number("context", 0, 1 << 30)),
        parallel=int(read.number("parallel", 0, 4096)), headers=_headers(path.name, values.get("headers")),
        verify=read.switch("verify", True), ca_file=str(path.parent / ca_file) if ca_file else "",
        timeout=read.number("timeout", 1, 86_400, DEFAULT_TIMEOUT), images=read.switch("images", False),
    )  # fmt: skip


def _known(path: Path, values: Mapping[str, Any]) -> None:
    for name in values:
        if name not in _NAMES and name != "urls":
            near = _SPELLINGS.get(name.casefold(), "")
            hint = f"Did you mean {near}? " if near else ""
            names = ", ".join(f"{one} ({what})" for one, what in _NAMES.items())
            raise EndpointError(f"{path.name} has a line {name[:40]!r}, which is not known.",
                                hint=f"{hint}Known are: {names}.")  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Values:
    """Takes single values out of the file."""

    file: str
    values: Mapping[str, Any]

    def text(self, name: str) -> str:
        value = self.values.get(name)
        if value is None:
            return ""
        if not isinstance(value, str) or not value.isprintable() or len(value) > 1000:
            raise EndpointError(f"{name} in {self.file} has to be one line of text.",
                                hint=f'Put it in quotes: {name}: "…"')  # fmt: skip
        return value.strip()

    def number(self, name: str, low: float, high: float, default: float = 0) -> float:
        value = self.values.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise EndpointError(f"{name} in {self.file} is not a number from {low:g} to {high:g}.",
                                hint=f"Such as: {name}: {default or 4096:g}")  # fmt: skip
        return value

    def switch(self, name: str, default: bool) -> bool:
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            raise EndpointError(f"{name} in {self.file} has to be true or false.", hint=f"Such as: {name}: true")
        return value


def _key(file: str, values: Mapping[str, Any]) -> str:
    value = values.get("key")
    if value is None:
        return ""
    if not isinstance(value, str) or not value.strip().isprintable() or not value.isascii():
        raise EndpointError(f"key in {file} is not text.", hint='Put it in quotes: key: "…"')
    return value.strip()


def _address(file: str, values: Mapping[str, Any]) -> str:
    """What stands under `url`, still unchecked. `urls`, which files for earlier versions have, may name one server."""
    found = values.get("url", values.get("urls"))
    if "url" in values and "urls" in values:
        raise EndpointError(f"{file} has both url and urls.", hint="Leave urls out.")
    if isinstance(found, list) and len(found) > 1:
        raise EndpointError(f"{file} names {len(found)} servers, and an endpoint file is for one.",
                            hint=f"Put {_ROUTERS}.", code="endpoint_many_servers")  # fmt: skip
    first = found[0] if isinstance(found, list) and found else found
    if not isinstance(first, str):
        raise EndpointError(f"{file} names no server.", hint="Add a line such as: url: http://127.0.0.1:8000")
    return first


def _url(file: str, value: str) -> str:
    """An address that can be used. What is wrong is not quoted: it may hold a password."""
    text = value.strip().rstrip("/")
    example = "Such as: http://127.0.0.1:8000 or https://api.example.com/v1"
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        (parts.hostname or "").encode("idna")  # as connecting does: no empty part between dots, none too long
    except ValueError:
        usable = False
    if not usable or any(char.isspace() or not char.isprintable() for char in text):
        raise EndpointError(f"An address in {file} is not an http or https address.", hint=example)
    if parts.username is not None or parts.password is not None:
        raise EndpointError(f"An address in {file} has a name or password in it.",
                            hint="Put a key into key or key_env instead.")  # fmt: skip
    if parts.query or parts.fragment or "?" in text:
        raise EndpointError(f"An address in {file} has something behind ? or #.", hint=example)
    return text


def _headers(file: str, value: Any) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise EndpointError(f"headers in {file} has to be lines of “Name: value” below it.")
    out: dict[str, str] = {}
    for name, text in value.items():
        plain = isinstance(name, str) and name.isascii() and name.replace("-", "").replace("_", "").isalnum()
        if not plain or not isinstance(text, str) or not text.isprintable() or not text.isascii():
            raise EndpointError(f"A line below headers in {file} is not a header.", hint='Such as: X-Project: "blue"')
        if name.casefold() in _OWN_HEADERS:
            raise EndpointError(f"The header {name} in {file} is the program's own.",
                                hint="Use key or key_env for a key; leave the header out.")  # fmt: skip
        out[name] = text
    return out
