"""One table gives the flags, the file and the environment; what the person wrote is kept."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from modules.errors import BadParameter, StorageError
from modules.settings.store import BY_NAME, SETTINGS, Settings, is_loopback


def made(folder: Path, given: dict[str, Any] | None = None, environ: dict[str, str] | None = None) -> Settings:
    return Settings({"user_data_dir": str(folder), **(given or {})}, environ)


def held(folder: Path) -> Any:
    return yaml.safe_load((folder / "settings.yaml").read_text("utf-8"))


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_a_row_is_whole_and_has_its_attribute(setting: Any, tmp_path: Path) -> None:
    assert setting.check(setting.default) == setting.default
    assert setting.flag == "--" + setting.name.replace("_", "-")
    assert setting.help.endswith(".")
    assert setting.name in Settings.__annotations__
    settings = made(tmp_path)
    assert settings.get(setting.name) == getattr(settings, setting.name)


def test_flags_and_aliases_are_unique() -> None:
    flags = [flag for setting in SETTINGS for flag in (setting.flag, *setting.aliases)]
    assert len(flags) == len(set(flags))
    assert set(Settings.__annotations__) == set(BY_NAME)


def test_the_command_line_wins_over_the_environment_the_environment_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("port: 1001\nmodel: from-file\ntheme: dark\n")
    environ = {"ENGINEHOUSE_PORT": "1002", "ENGINEHOUSE_MODEL": "from-environment"}
    settings = made(tmp_path, {"port": 1003}, environ)
    assert (settings.port, settings.model, settings.theme, settings.host) == (
        1003, "from-environment", "dark", "127.0.0.1",
    )  # fmt: skip
    assert settings.problems == []


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("listen", "yes", True), ("listen", "0", False), ("ui", "off", False), ("port", " 80 ", 80),
     ("extensions", "a, b,,c", ("a", "b", "c")), ("extensions", "", ()), ("theme", "light", "light")],
)  # fmt: skip
def test_the_environment_is_read_by_the_settings_type(tmp_path: Path, name: str, text: str, value: Any) -> None:
    assert made(tmp_path, environ={f"ENGINEHOUSE_{name.upper()}": text}).get(name) == value


def test_a_bad_variable_is_named_and_ignored(tmp_path: Path) -> None:
    settings = made(tmp_path, environ={"ENGINEHOUSE_PORT": "many"})
    assert settings.port == 7860
    assert "ENGINEHOUSE_PORT" in settings.problems[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [("port", 70000), ("port", "eighty"), ("port", True), ("port", 1.5), ("listen", 2), ("theme", "pink"), ("model", 3),
     ("model", "a\nb"), ("model", "a\0b"),
     ("model", "a\udcff"), ("extensions", "[1"), ("port", "9" * 5000), ("listen", [[]] * 100_000),
     ("extensions", [1]), ("nothing", 1),
     ("user_data_dir", "/x")],
)  # fmt: skip
def test_a_bad_value_is_refused_and_nothing_is_written(tmp_path: Path, name: str, value: Any) -> None:
    settings = made(tmp_path)
    with pytest.raises(BadParameter) as caught:
        settings.set(name, value)
    assert caught.value.param == name
    assert not (tmp_path / "settings.yaml").exists()


def test_the_file_explains_every_setting_and_leaves_it_at_its_default(tmp_path: Path) -> None:
    settings = made(tmp_path)
    assert settings.make_file()
    assert not settings.make_file()
    text = (tmp_path / "settings.yaml").read_text()
    assert held(tmp_path) is None
    plain = re.sub(r"\s*\n#?\s*", " ", text)
    for setting in SETTINGS:
        if setting.in_file:
            assert f"\n# {setting.name}: " in text
            assert setting.help in plain
    taken = re.sub(r"(?m)^# (?=[a-z_]+: )", "", text)
    assert {name: BY_NAME[name].check(value) for name, value in yaml.safe_load(taken).items()} == {
        one.name: one.default for one in SETTINGS if one.in_file
    }


def test_a_change_is_written_survives_a_restart_and_is_told(tmp_path: Path) -> None:
    settings = made(tmp_path)
    heard: list[Any] = []
    settings.on_change.append(lambda name, value: heard.append((name, value)))
    assert settings.set("theme", "dark") == "dark"
    assert heard == [("theme", "dark")]
    assert held(tmp_path) == {"theme": "dark"}
    assert made(tmp_path).theme == "dark"
    settings.set("theme", "system")
    assert held(tmp_path) is None


def test_a_change_keeps_the_persons_comments_order_and_unknown_keys(tmp_path: Path) -> None:
    mine = (
        "# my notes\nfrom_elsewhere:\n  deep: [1, 2]\nport: 8000   # the usual\nextensions:\n  - openai\n"
        "  # local one\n  - mine\n\n# colours\ntheme: 'dark'\nmodel: >-\n  some\n  name\n"
    )
    (tmp_path / "settings.yaml").write_text(mine)
    settings = made(tmp_path)
    assert "from_elsewhere" in settings.problems[0]
    settings.set("extensions", ["openai", "c: d"])
    settings.set("theme", "light")
    settings.set("model", "x")
    settings.set("log_level", "debug")
    text = (tmp_path / "settings.yaml").read_text()
    assert held(tmp_path) == {
        "from_elsewhere": {"deep": [1, 2]}, "port": 8000, "extensions": ["openai", "c: d"], "theme": "light",
        "model": "x", "log_level": "debug",
    }  # fmt: skip
    for kept in ("# my notes\n", "port: 8000   # the usual\n", "# colours\n"):
        assert kept in text
    assert list(held(tmp_path)) == ["from_elsewhere", "port", "extensions", "theme", "model", "log_level"]


@pytest.mark.parametrize(
    "value", ["plain", "it's: #1", "'", '"quoted"', "- x", "{a}", "yes", "123", "ünï 日本", "&a *b"]
)
def test_any_text_comes_back_as_it_was(tmp_path: Path, value: str) -> None:
    settings = made(tmp_path)
    settings.make_file()
    settings.set("model", value)
    settings.set("theme", "dark")
    assert made(tmp_path).model == value
    assert held(tmp_path) == {"model": value, "theme": "dark"}


LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0"), max_size=30)


@settings_of_hypothesis(max_examples=40, deadline=None)
@given(model=LINE, names=st.lists(LINE, max_size=3), comment=LINE)
def test_whatever_is_set_comes_back_and_nothing_else_changes(
    tmp_path_factory: pytest.TempPathFactory, model: str, names: list[str], comment: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    kept = "".join(char for char in comment if char.isprintable())
    (folder / "settings.yaml").write_text(f"# {kept}\nother: [1, {{a: b}}]\nmodel: old # {kept}\n", "utf-8")
    settings = made(folder)
    settings.set("model", model)
    settings.set("extensions", names)
    again = made(folder)
    assert again.model == model.strip()
    assert again.stored("extensions") == tuple(name.strip() for name in names if name.strip())
    assert (held(folder) or {})["other"] == [1, {"a": "b"}]
    assert f"# {kept}" in (folder / "settings.yaml").read_text("utf-8")
    assert not list(folder.glob("*.corrupt-*"))


def test_a_file_in_flow_style_is_still_changed_right(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("{port: 8000, theme: dark, other: 1}\n")
    made(tmp_path).set("theme", "light")
    assert held(tmp_path) == {"port": 8000, "theme": "light", "other": 1}


def test_an_edit_made_by_hand_while_the_program_runs_is_not_lost(tmp_path: Path) -> None:
    settings = made(tmp_path)
    settings.set("theme", "dark")
    with (tmp_path / "settings.yaml").open("a") as file:
        file.write("max_loaded: 3\n")
    settings.set("theme", "light")
    assert held(tmp_path) == {"theme": "light", "max_loaded": 3}


def test_what_needs_a_restart_keeps_its_value_until_then(tmp_path: Path) -> None:
    settings = made(tmp_path)
    settings.set("port", 8123)
    assert (settings.port, settings.stored("port"), settings.waiting_for_restart) == (7860, 8123, ("port",))
    assert made(tmp_path).port == 8123


def test_the_command_line_is_never_written_to_the_file(tmp_path: Path) -> None:
    settings = made(tmp_path, {"port": 1003, "theme": "dark", "model": "m"})
    settings.set("log_level", "debug")
    assert held(tmp_path) == {"log_level": "debug"}
    settings.set("theme", "light")
    assert settings.theme == "light"
    assert held(tmp_path) == {"log_level": "debug", "theme": "light"}


def test_a_bad_value_in_the_file_is_named_kept_and_its_default_used(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("port: lots\nprot: 8000\ntheme: dark\n")
    settings = made(tmp_path)
    assert (settings.port, settings.theme) == (7860, "dark")
    assert "port is 'lots'" in settings.problems[0]
    assert "did you mean port?" in settings.problems[1]
    settings.set("theme", "light")
    assert held(tmp_path) == {"port": "lots", "prot": 8000, "theme": "light"}


@pytest.mark.parametrize("damage", [b"theme: [", b"\xff\xfe\x00", b"- a list\n", b"words"])
def test_a_damaged_file_is_put_aside_and_the_last_good_one_used(tmp_path: Path, damage: bytes) -> None:
    made(tmp_path).set("theme", "dark")
    (tmp_path / "settings.yaml").write_bytes(damage)
    settings = made(tmp_path)
    assert settings.theme == "dark"
    assert "settings.yaml" in settings.problems[0]
    (aside,) = tmp_path.glob("settings.yaml.corrupt-*")
    assert aside.read_bytes() == damage
    settings.set("port", 9000)
    assert held(tmp_path) == {"theme": "dark", "port": 9000}


def test_a_file_edited_by_hand_becomes_the_good_copy(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("theme: dark\n")
    made(tmp_path)
    (tmp_path / "settings.yaml").write_text("theme: [")
    assert made(tmp_path).theme == "dark"


def test_when_the_disk_refuses_the_value_in_force_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = made(tmp_path)

    def full(*_: Any, **__: Any) -> None:
        raise StorageError("“settings.yaml” could not be saved: the disk is full.")

    monkeypatch.setattr("modules.settings.file.durable_write", full)
    with pytest.raises(StorageError):
        settings.set("theme", "dark")
    assert settings.theme == "system"


def test_the_key_is_never_shown(tmp_path: Path) -> None:
    settings = made(tmp_path, {"api_key": "s3cret"}, {"ENGINEHOUSE_API_KEY": "s3cret-too"})
    assert "api_key" not in settings.public()
    assert "s3cret" not in repr(settings) + str(settings) + str(settings.problems)
    with pytest.raises(BadParameter) as caught:
        settings.set("api_key", "s3cret\nmore")
    assert "s3cret" not in str(caught.value)
    (tmp_path / "settings.yaml").write_text("api_key: [s3cret]\n")
    assert "s3cret" not in str(made(tmp_path).problems)


def test_the_file_is_for_its_owner_only_since_it_may_hold_the_key(tmp_path: Path) -> None:
    made(tmp_path).make_file()
    assert stat.S_IMODE((tmp_path / "settings.yaml").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("given", "address", "key"),
    [({}, "127.0.0.1", False), ({"listen": True}, "0.0.0.0", True), ({"host": "192.168.1.5"}, "192.168.1.5", True),
     ({"host": "0.0.0.0"}, "0.0.0.0", True), ({"host": "::"}, "::", True), ({"host": "::1"}, "::1", False),
     ({"host": ""}, "", True), ({"host": "localhost"}, "localhost", False), ({"host": "127.0.0.2"}, "127.0.0.2", False),
     ({"listen": True, "host": "192.168.1.5"}, "192.168.1.5", True)],
)  # fmt: skip
def test_whoever_opens_the_server_to_the_network_gets_a_key(
    tmp_path: Path, given: Any, address: str, key: bool
) -> None:
    settings = made(tmp_path, given)
    assert settings.bind_host == address
    chosen = settings.access_key()
    assert bool(chosen.value) is key
    assert chosen.why
    assert settings.access_key() == chosen
    assert settings.api_key == chosen.value
    assert not (tmp_path / "settings.yaml").exists()
    if key:
        assert len(chosen.value) >= 32
        assert made(tmp_path, given).access_key().value != chosen.value


def test_a_key_of_ones_own_is_used_as_it_is(tmp_path: Path) -> None:
    chosen = made(tmp_path, {"listen": True, "api_key": "mine"}).access_key()
    assert (chosen.value, chosen.why) == ("mine", "It is the API key you set.")


def test_folders_are_made_and_a_relative_models_folder_moves_with_the_user_data(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("models_dir: ../big\n")
    paths = made(tmp_path).make_paths()
    assert paths.chats.is_dir()
    assert paths.models.resolve() == (tmp_path.parent / "big").resolve()
    assert made(tmp_path, {"models_dir": str(tmp_path / "m")}).make_paths().models == tmp_path / "m"


def test_an_unknown_attribute_is_an_error_and_not_none(tmp_path: Path) -> None:
    with pytest.raises(AttributeError):
        _ = made(tmp_path).prot
    with pytest.raises(BadParameter):
        made(tmp_path).get("prot")


def test_loopback_addresses_are_told_from_others() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "::1", "[::1]", "localhost", "127.9.9.9"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", "", "127.0.0.1.evil.org"))


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [("port", "8000", 8000), ("listen", 1, True), ("listen", "true", True), ("extensions", "openai", ("openai",)),
     ("extensions", '["a", "b"]', ("a", "b")), ("extensions", "a, b", ("a", "b")), ("port", None, 7860)],
)  # fmt: skip
def test_a_value_in_another_notation_is_read_as_meant(tmp_path: Path, name: str, value: Any, read: Any) -> None:
    assert made(tmp_path).set(name, value) == read
