"""SETTINGS: every setting of the program, once; and the settings of one running program.

Command-line flags, settings.yaml with its comments, the Settings tab and docs/settings.md are derived
from this table. A value is taken from the first of: the command line, the environment variable
ENGINEHOUSE_<NAME>, settings.yaml, the default. Only `Settings.set` writes the file.
"""

from __future__ import annotations

import difflib
import ipaddress
import secrets
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from modules.errors import BadParameter, shown_value
from modules.settings.file import Entry, SettingsFile
from modules.settings.paths import Paths
from modules.settings.setting import Setting, Value
from modules.types import Decision

__all__ = ["BY_NAME", "SETTINGS", "Setting", "Settings", "Value", "is_loopback"]

HERE = Path(__file__).resolve().parents[2]


NETWORK, MODELS, CHATS, LOOK, FILES = "Network", "Models", "Chats", "Appearance & logging", "Files and extensions"

SETTINGS: tuple[Setting, ...] = (
    Setting("host", "text", "127.0.0.1", "--host", NETWORK,
            "Address to listen on. 127.0.0.1 = this computer only.", metavar="ADDRESS",
            aliases=("--listen-host",), restart_needed=True),
    Setting("port", "int", 7860, "--port", NETWORK,
            "Port of the web page and the API. If it is taken, the next free one is used and announced. "
            "0 = any free port.", low=0, high=65535, metavar="N", aliases=("--listen-port", "--api-port"),
            restart_needed=True),
    Setting("listen", "bool", False, "--listen", NETWORK,
            "Let other computers in your network in. Without an API key one is made and printed at the start.",
            restart_needed=True),
    Setting("api_key", "text", "", "--api-key", NETWORK,
            "Required for the web UI and API. Empty = no key. "
            "ENGINEHOUSE_API_KEY keeps it out of the list of processes.",
            metavar="KEY", restart_needed=True, secret=True),
    Setting("allowed_hosts", "list", (), "--allowed-hosts", NETWORK,
            "Further host names under which this server may be reached, for example workshop.local. "
            "A request for any other name is refused.", metavar="NAME", restart_needed=True),
    Setting("cors_origins", "list", (), "--cors-origins", NETWORK,
            "Web pages of other sites that may use the API from a browser, for example https://example.org. "
            "Empty = none.", metavar="ORIGIN", restart_needed=True),
    Setting("model", "text", "", "--model", MODELS,
            "Model to load at startup, as named in the model list. Empty = load with the first message.",
            metavar="NAME", restart_needed=True),
    Setting("loader", "text", "", "--loader", MODELS,
            "Loader for the default model. Empty = chosen by format, with the reason shown.",
            metavar="NAME", restart_needed=True),
    Setting("llama_server", "text", "", "--llama-server", MODELS,
            "A llama-server of your own (built for CUDA, Vulkan, ROCm or RPC; ik_llama.cpp) that the loader llama.cpp "
            "starts instead of the bundled engine: the path of the program, arguments may follow. Empty = the bundled "
            "one.", metavar="PROGRAM"),
    Setting("models_dir", "text", "", "--models-dir", MODELS,
            "Folder with the models. Empty = the folder models in the user-data folder.",
            metavar="FOLDER", aliases=("--model-dir",), restart_needed=True),
    Setting("allow_pickle", "bool", False, "--allow-pickle", MODELS,
            "Open weights in pickle files (.bin, .pt, .pth, .ckpt), in the restricted way of PyTorch. Such files can "
            "hold programs, so only for makers you trust; safetensors and GGUF never need it.", restart_needed=True),
    Setting("max_loaded", "int", 1, "--max-loaded", MODELS,
            "How many models may be loaded at the same time. When one more is asked for, the one that was "
            "used longest ago is unloaded.", low=1, high=16, metavar="N"),
    Setting("load_fallback", "choice", "offer", "--load-fallback", MODELS,
            "What to do when a model doesn't fit into memory: offer = ask first, with smaller settings that should "
            "fit; take = load with them and say what changed.", choices=("offer", "take")),
    Setting("context_overflow", "choice", "drop_oldest", "--context-overflow", CHATS,
            "What to do when a chat exceeds the context: drop_oldest = leave out the oldest messages and say so; "
            "error = stop with an error.", choices=("drop_oldest", "error")),
    Setting("thinking", "choice", "default", "--thinking", CHATS,
            "Whether models think before they answer in chats, where their chat template can switch it: default leaves "
            "it to the template.", choices=("default", "on", "off")),
    Setting("ui", "bool", True, "--ui", LOOK,
            "Serve the web page besides the API. Off (--no-ui) = the API only; starts faster.",
            restart_needed=True),
    Setting("theme", "choice", "system", "--theme", LOOK,
            "Colors of the web page; system = as the operating system.", choices=("system", "light", "dark")),
    Setting("log_level", "choice", "info", "--log-level", LOOK,
            "Logging verbosity of the console and the log file.", choices=("debug", "info", "warning", "error")),
    Setting("user_data_dir", "text", "", "--user-data-dir", FILES,
            "Folder with your models, chats, presets, settings. Empty = the folder user_data beside server.py.",
            metavar="FOLDER", restart_needed=True, in_file=False),
    Setting("extensions", "list", ("openai",), "--extensions", FILES,
            "Extensions to load. Naming some replaces the default.", metavar="NAME", restart_needed=True),
)  # fmt: skip

BY_NAME: Mapping[str, Setting] = {setting.name: setting for setting in SETTINGS}


def is_loopback(host: str) -> bool:
    """Whether only this computer can reach an address to listen on."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Settings:
    """The settings of one running program.

    Values are attributes (`settings.port`) or `get("port")`. One whose `restart_needed` is set keeps its
    value while the program runs; `stored` gives what the next start will use.
    """

    host: str
    port: int
    listen: bool
    api_key: str
    allowed_hosts: tuple[str, ...]
    cors_origins: tuple[str, ...]
    model: str
    loader: str
    llama_server: str
    models_dir: str
    allow_pickle: bool
    max_loaded: int
    load_fallback: Literal["offer", "take"]
    context_overflow: Literal["drop_oldest", "error"]
    thinking: Literal["default", "on", "off"]
    ui: bool
    theme: str
    log_level: str
    user_data_dir: str
    extensions: tuple[str, ...]

    def __init__(self, given: Mapping[str, Value] | None = None, environ: Mapping[str, str] | None = None) -> None:
        """Read settings.yaml and put the layers together.

        Args:
            given: values of the command line by name, already checked
            environ: the environment; None = an empty one
        """
        self.problems: list[str] = []
        self.on_change: list[Callable[[str, Value], None]] = []
        self._lock = threading.RLock()
        self._made_key = ""
        self._over: dict[str, Value] = {**self._from_environment(environ or {}), **(given or {})}
        self._values: dict[str, Value] = {one.name: self._over.get(one.name, one.default) for one in SETTINGS}
        self._file = SettingsFile(self.user_data / "settings.yaml", _entries())
        raw, problems = self._file.read()
        self.problems.extend(problems)
        self._stored = self._checked(raw, self.problems)
        self._values = {one.name: one.default for one in SETTINGS} | self._stored | self._over

    def _from_environment(self, environ: Mapping[str, str]) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for setting in SETTINGS:
            text = environ.get(setting.env)
            if text is None:
                continue
            try:
                found[setting.name] = setting.parse(text)
            except BadParameter as error:
                self.problems.append(f"{setting.env} is ignored: {error.message}")
        return found

    def _checked(self, raw: Mapping[str, Any], problems: list[str]) -> dict[str, Value]:
        """The values of the file that are right; the others are named in `problems` and stay in the file."""
        right: dict[str, Value] = {}
        strange: list[str] = []
        for name, value in raw.items():
            if name not in BY_NAME or not BY_NAME[name].in_file:
                near = difflib.get_close_matches(str(name), BY_NAME, n=1)
                strange.append(f"{name} (did you mean {near[0]}?)" if near and near[0] != name else str(name))
                continue
            setting = BY_NAME[name]
            try:
                right[name] = setting.check(value)
            except BadParameter as error:
                problems.append(f"settings.yaml: {error.message} The default is used.")
        if strange:
            names = ", ".join(strange)
            problems.append(f"settings.yaml has keys that this version does not know, kept and not used: {names}.")
        return right

    def __getattr__(self, name: str) -> Any:
        values = self.__dict__.get("_values", {})
        if name in values:
            return values[name]
        raise AttributeError(f"There is no setting called {name!r}.")

    def __repr__(self) -> str:
        return f"Settings({self.public()!r})"

    def get(self, name: str) -> Any:
        """The value in force. Raises BadParameter for a name that is not in SETTINGS."""
        return self._values[_known(name).name]

    def stored(self, name: str) -> Any:
        """The value the next start would use without flags and environment: the file's, or the default."""
        setting = _known(name)
        return self._stored.get(name, setting.default)

    def public(self) -> dict[str, Any]:
        """Values in force without the secret ones, JSON-ready."""
        return {
            one.name: list(value) if isinstance(value := self._values[one.name], tuple) else value
            for one in SETTINGS
            if not one.secret
        }

    @property
    def waiting_for_restart(self) -> tuple[str, ...]:
        """Names whose stored value takes effect at the next start."""
        return tuple(
            one.name
            for one in SETTINGS
            if one.restart_needed and one.name not in self._over and self.stored(one.name) != self._values[one.name]
        )

    def set(self, name: str, value: Any) -> Value:
        """Check, write to settings.yaml, put in force unless a restart is needed, tell `on_change`.

        A change by the person wins over the command line for the rest of this run.
        Raises: BadParameter for a bad name or value, StorageError when the disk refuses.
        """
        setting = _known(name)
        if not setting.in_file:
            raise BadParameter(f"{name} can only be given at the start, as {setting.flag}.", param=name)
        checked = setting.check(value)
        with self._lock:
            raw, problems = self._file.write(name, checked)
            self._stored = self._checked(raw, [])
            self.problems.extend(problems)
            if not setting.restart_needed:
                self._over.pop(name, None)
                self._values[name] = checked
        for callback in tuple(self.on_change):
            callback(name, checked)
        return checked

    @property
    def user_data(self) -> Path:
        """The user-data folder."""
        chosen = str(self._values["user_data_dir"])
        return Path(chosen).expanduser().absolute() if chosen else HERE / "user_data"

    def make_paths(self) -> Paths:
        """The folders of this program, made where missing. Raises StorageError."""
        models: Path | None = None
        if self.models_dir:
            # A relative folder in the file means one beside it: the file moves with its user-data folder.
            base = Path() if "models_dir" in self._over else self.user_data
            models = base / Path(self.models_dir).expanduser()
        return Paths.below(self.user_data, models)

    def make_file(self) -> bool:
        """Write settings.yaml with every setting explained when there is none. True when it was written."""
        return self._file.make()

    @property
    def bind_host(self) -> str:
        """The address to listen on: `listen` opens the default address to the network."""
        if self.listen and is_loopback(self.host):
            return "0.0.0.0"
        return self.host

    @property
    def has_made_key(self) -> bool:
        """Whether the key was made for this run; False where the person set one, or none is needed."""
        return bool(self._made_key)

    def access_key(self) -> Decision[str]:
        """The key clients have to give, "" for none; made for this run when the network could reach us without one.

        A made key is remembered, so every call gives the same one.
        """
        with self._lock:
            if self.api_key:
                return Decision(self.api_key, _MADE if self._made_key else "It is the API key you set.")
            if is_loopback(self.bind_host):
                return Decision("", "Only this computer can reach the server, so no key is needed.")
            self._made_key = secrets.token_urlsafe(24)
            self._values["api_key"] = self._over["api_key"] = self._made_key
            return Decision(self._made_key, _MADE)


_MADE = (
    "Other computers can reach this server and no API key was set, so one was made for this run. "
    "Set api_key in settings.yaml, ENGINEHOUSE_API_KEY or --api-key to keep one of your own."
)


def _entries() -> list[Entry]:
    return [
        Entry(
            name=one.name,
            default=list(one.default) if isinstance(one.default, tuple) else one.default,
            comment=f"{one.help} ({one.wanted}{'; after a restart' if one.restart_needed else ''})",
            group=one.group,
        )
        for one in SETTINGS
        if one.in_file
    ]


def _known(name: str) -> Setting:
    if name not in BY_NAME:
        raise BadParameter(f"There is no setting called {shown_value(name)}.", param=name[:80],
                           hint="See docs/settings.md.")  # fmt: skip
    return BY_NAME[name]
