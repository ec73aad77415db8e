"""The command line is made from the table, and says in one sentence what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from modules.settings.cli import parse
from modules.settings.store import SETTINGS, Settings
from modules.version import VERSION

ROOT = Path(__file__).resolve().parents[2]


def read(folder: Path, *words: str) -> Settings:
    return parse(["--user-data-dir", str(folder), *words], {})


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as caught:
        parse(list(words), {})
    assert caught.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "--help" in shown.err
    assert "Traceback" not in shown.err
    return shown.err


def test_every_flag_does_what_its_row_says(tmp_path: Path) -> None:
    settings = read(
        tmp_path, "--host", "::1", "--port", "0", "--listen", "--api-key", "k", "--model", "a/b", "--loader", "echo",
        "--no-ui", "--models-dir", "m", "--extensions", "a", "b,c", "--allowed-hosts", "x.local", "--cors-origins",
        "--max-loaded=2", "--context-overflow", "error", "--thinking", "off", "--theme", "dark", "--log-level", "debug",
        "--llama-server", "/opt/ll/llama-server --rpc a:1",
    )  # fmt: skip
    assert settings.public() == {
        "host": "::1", "port": 0, "listen": True, "model": "a/b", "loader": "echo", "ui": False, "models_dir": "m",
        "extensions": ["a", "b", "c"], "allowed_hosts": ["x.local"], "cors_origins": [], "max_loaded": 2,
        "llama_server": "/opt/ll/llama-server --rpc a:1", "allow_pickle": False, "load_fallback": "offer",
        "context_overflow": "error", "thinking": "off", "theme": "dark", "log_level": "debug",
        "user_data_dir": str(tmp_path),
    }  # fmt: skip
    assert settings.api_key == "k"


def test_without_flags_everything_is_at_its_default(tmp_path: Path) -> None:
    settings = read(tmp_path)
    assert {one.name: settings.get(one.name) for one in SETTINGS if one.name != "user_data_dir"} == {
        one.name: one.default for one in SETTINGS if one.name != "user_data_dir"
    }


def test_both_ways_of_a_switch_work_and_the_last_one_wins(tmp_path: Path) -> None:
    assert read(tmp_path, "--ui").ui
    assert not read(tmp_path, "--ui", "--no-ui").ui
    assert not read(tmp_path, "--listen", "--no-listen").listen


def test_a_list_may_be_repeated_and_the_file_is_replaced_not_added_to(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("extensions: [from_file]\n")
    assert read(tmp_path, "--extensions", "a", "--extensions", "b").extensions == ("a", "b")
    assert read(tmp_path, "--extensions").extensions == ()
    assert read(tmp_path).extensions == ("from_file",)


def test_flags_of_other_programs_that_mean_the_same_are_understood(tmp_path: Path) -> None:
    settings = read(tmp_path, "--listen-port", "5001", "--listen-host", "10.0.0.1", "--model-dir", "x")
    assert (settings.port, settings.host, settings.models_dir) == (5001, "10.0.0.1", "x")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--prot", "80"], "There is no flag --prot. Did you mean --port?"),
        (["--no-gui"], "Did you mean --no-ui?"),
        (["--user_data_dir", "x"], "Did you mean --user-data-dir?"),
        (["--user-data", "x"], "Did you mean --user-data-dir?"),
        (["--completely-different"], "There is no flag --completely-different."),
        (["--port", "many"], "port is 'many', but it has to be a whole number from 0 to 65535."),
        (["--port", "70000"], "from 0 to 65535"),
        (["--port"], "expected one argument"),
        (["--theme", "pink"], "one of system, light, dark"),
        (["server"], "'server' does not belong to a flag"),
    ],
)
def test_a_wrong_flag_is_one_sentence_that_names_the_nearest(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    shown = refused(capsys, *words)
    assert said in shown
    assert len(shown.splitlines()) == 2


def test_a_bad_key_is_not_repeated_in_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert "s3cret" not in refused(capsys, "--api-key", "s3cret\nkey")


def test_help_is_grouped_and_names_every_flag_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["--help"], {})
    assert caught.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for setting in SETTINGS:
        flag = setting.flag.replace("--", "--no-", 1) if setting.default is True else setting.flag
        assert f" {flag} " in shown
        assert setting.group + ":" in shown
        assert setting.help in shown
    assert "Default: 7860." in shown
    assert "--listen-port" not in shown


def test_the_version_is_that_of_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["--version"], {})
    assert caught.value.code == 0
    assert capsys.readouterr().out.strip() == f"Enginehouse {VERSION}"


def test_flags_are_never_cut_short_by_guessing(capsys: pytest.CaptureFixture[str]) -> None:
    assert "There is no flag --por." in refused(capsys, "--por", "1")


def test_the_environment_of_the_process_counts(tmp_path: Path) -> None:
    code = (
        "from modules.settings.cli import parse; s = parse(['--theme', 'light']); print(s.port, s.theme, s.user_data)"
    )
    environ = {"ENGINEHOUSE_PORT": "81", "ENGINEHOUSE_THEME": "dark", "ENGINEHOUSE_USER_DATA_DIR": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=30, check=True
    )
    assert result.stdout.split() == ["81", "light", str(tmp_path)]
