"""Taking the command line apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from modules.launcher.console import StepFailed
from modules.launcher.layout import find_layout
from modules.launcher.options import HELP, Options, parse
from modules.settings.store import Settings


def test_flags_the_launcher_does_not_know_go_on_to_the_server() -> None:
    options = parse(["--port", "8000", "--no-browser", "--no-ui", "--model=a"])
    assert options == Options(browser=False, rest=("--port", "8000", "--no-ui", "--model=a"))


@pytest.mark.parametrize("words", [["--engine", "cuda"], ["--engine=cuda"]])
def test_a_value_may_stand_beside_or_behind_its_flag(words: list[str]) -> None:
    assert parse(words).engine == "cuda"


def test_the_folders_come_from_the_flags_else_the_environment_else_the_checkout(tmp_path: Path) -> None:
    environ = {"ENGINEHOUSE_USER_DATA_DIR": "/env/data", "ENGINEHOUSE_MODELS_DIR": "/env/models"}
    default = find_layout(tmp_path, "", "", {})
    assert (default.user_data, default.models) == (tmp_path / "user_data", tmp_path / "user_data" / "models")
    asked = find_layout(tmp_path, "", "", environ)
    assert (asked.user_data, asked.models) == (Path("/env/data"), Path("/env/models"))
    typed = find_layout(tmp_path, "/typed", "/typed/m", environ)
    assert (typed.user_data, typed.models) == (Path("/typed"), Path("/typed/m"))
    assert parse(["--models-dir", "/m"]).models == "/m"


@pytest.mark.parametrize("words", [["--user-data-dir", "/d"], ["--user-data-dir=/d"]])
def test_the_data_folder_is_used_here_and_handed_on(words: list[str]) -> None:
    options = parse(words)
    assert options.user_data == "/d"
    assert options.rest == ("--user-data-dir", "/d")


@pytest.mark.parametrize("words", [["--model-dir", "/m"], ["--model-dir=/m"]])
def test_the_other_name_of_the_models_folder_counts_here_too(words: list[str]) -> None:
    options = parse(words)
    assert options.models == "/m"
    assert options.rest == ("--models-dir", "/m")


@pytest.mark.parametrize(
    ("line", "folder"),
    [
        ("models_dir: /big/models", "/big/models"),
        ("models_dir: /big disk/m#1  # the large one\r", "/big disk/m#1"),
        ('models_dir: "/big \\"disk\\"/\\u00e9"', '/big "disk"/é'),
        ("models_dir: '/it''s here' # so", "/it's here"),
        ("models_dir: weights", "{data}/weights"),
        ("models_dir:", "{data}/models"),
        ("models_dir: ''", "{data}/models"),
        ("models_dir: null", "{data}/models"),
        ("# models_dir: /comment", "{data}/models"),
        ("other:\n  models_dir: /nested", "{data}/models"),
    ],
)
def test_the_models_folder_of_the_settings_file_is_the_servers(tmp_path: Path, line: str, folder: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_bytes(f"\ufeff# Settings\nport: 7860\n{line}\nlisten: false\n".encode())
    wanted = Path(folder.format(data=tmp_path))
    assert find_layout("/root", str(tmp_path), "", {}).models == wanted
    of_server = Settings({"user_data_dir": str(tmp_path)}).models_dir
    assert tmp_path / (of_server or "models") == wanted
    assert find_layout("/root", str(tmp_path), "/typed", {}).models == Path("/typed")
    assert find_layout("/root", str(tmp_path), "", {"ENGINEHOUSE_MODELS_DIR": "/env"}).models == Path("/env")


def test_everything_after_test_is_pytests() -> None:
    assert parse(["test", "-k", "chat", "--help"]) == Options(command="test", rest=("-k", "chat", "--help"))


def test_install_takes_names_and_its_own_flags() -> None:
    options = parse(["install", "transformers", "exllamav3", "--torch", "cpu", "--force"])
    assert options.loaders == ("transformers", "exllamav3")
    assert (options.torch, options.force) == ("cpu", True)
    assert parse(["install"]) == Options(command="install")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--engine", "tpu"], "it takes auto, cpu"),
        (["--engine"], "needs a value"),
        (["install", "tensorflow"], "does not know 'tensorflow'"),
    ],
)
def test_nonsense_is_refused_in_words(words: list[str], message: str) -> None:
    with pytest.raises(StepFailed) as caught:
        parse(words)
    assert message in caught.value.why


def test_every_flag_of_the_launcher_is_on_its_help_page() -> None:
    flags = "--no-starter --no-browser --engine --user-data-dir --models-dir --torch --force --help"
    assert all(flag in HELP for flag in flags.split())


def test_lock_takes_names_of_packages_and_nothing_else() -> None:
    assert parse(["lock"]) == Options(command="lock")
    assert parse(["lock", "openai", "gradio"]).packages == ("openai", "gradio")
    assert parse(["lock", "--help"]).help
    assert parse(["lock"]).tests
    assert not parse(["lock", "openai", "--no-tests"]).tests
    with pytest.raises(StepFailed):
        parse(["lock", "--upgrade"])
