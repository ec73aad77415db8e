"""Taking the command line apart."""

from __future__ import annotations

import pytest

from modules.launcher.console import StepFailed
from modules.launcher.options import HELP, Options, parse


def test_flags_the_launcher_does_not_know_go_on_to_the_server() -> None:
    options = parse(["--port", "8000", "--no-browser", "--no-ui", "--model=a"])
    assert options == Options(browser=False, rest=("--port", "8000", "--no-ui", "--model=a"))


@pytest.mark.parametrize("words", [["--engine", "cuda"], ["--engine=cuda"]])
def test_a_value_may_stand_beside_or_behind_its_flag(words: list[str]) -> None:
    assert parse(words).engine == "cuda"


@pytest.mark.parametrize("words", [["--user-data-dir", "/d"], ["--user-data-dir=/d"]])
def test_the_data_folder_is_used_here_and_handed_on(words: list[str]) -> None:
    options = parse(words)
    assert options.user_data == "/d"
    assert options.rest == ("--user-data-dir", "/d")


def test_everything_after_test_is_pytests() -> None:
    assert parse(["test", "-k", "chat", "--help"]) == Options(command="test", rest=("-k", "chat", "--help"))


def test_install_takes_names_and_its_own_flags() -> None:
    options = parse(["install", "transformers", "exllamav3", "--torch", "cpu", "--force"])
    assert options.loaders == ("transformers", "exllamav3")
    assert (options.torch, options.force) == ("cpu", True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--engine", "tpu"], "it takes auto, cpu"),
        (["--engine"], "needs a value"),
        (["install"], "needs a name"),
        (["install", "tensorflow"], "does not know 'tensorflow'"),
    ],
)
def test_nonsense_is_refused_in_words(words: list[str], message: str) -> None:
    with pytest.raises(StepFailed) as caught:
        parse(words)
    assert message in caught.value.why


def test_every_flag_of_the_launcher_is_on_its_help_page() -> None:
    flags = ("--no-starter", "--no-browser", "--engine", "--user-data-dir", "--torch", "--force", "--help")
    assert all(flag in HELP for flag in flags)
