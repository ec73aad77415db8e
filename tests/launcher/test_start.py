"""The command itself, as a process: first start, second start, failures, cuts, Ctrl+C."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modules.launcher.stamp import read_stamp
from tests.launcher.conftest import ROOT, Checkout
from tests.launcher.local_index import make_wheel

posix_only = pytest.mark.skipif(os.name != "posix", reason="signals and process replacement are POSIX's")


def wait_for(path: Path, process: subprocess.Popen[str], seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > deadline or process.poll() is not None:
            process.kill()
            pytest.fail(f"{path.name} did not come: {process.communicate()[0]}")
        time.sleep(0.02)


def serve(checkout: Checkout, *arguments: str) -> tuple[subprocess.Popen[str], dict[str, object]]:
    """start.py as a process that serves; gives the process and what the server wrote about itself."""
    checkout.layout.run_file.unlink(missing_ok=True)
    process = subprocess.Popen(
        checkout.command(*arguments), env=checkout.environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    wait_for(checkout.layout.run_file, process)
    return process, json.loads(checkout.layout.run_file.read_text())


def stop(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=60)[0]


@posix_only
def test_the_first_start_installs_and_serves_and_the_second_asks_the_network_nothing(checkout: Checkout) -> None:
    process, running = serve(checkout, "--no-starter")
    out = stop(process)
    assert running["pid"] == process.pid  # the server has taken the launcher's place
    assert process.returncode == 0
    assert "Making the Python environment" in out
    assert "hello" in out
    assert "server ended in order" in out
    assert "Traceback" not in out
    assert checkout.index.requests

    checkout.index.requests.clear()
    process, _ = serve(checkout, "--no-starter")
    out = stop(process)
    assert checkout.index.requests == []
    assert "Making the Python environment" not in out
    assert "Installing" not in out


@posix_only
def test_other_flags_and_the_exit_code_are_the_servers(ready: Checkout) -> None:
    assert ready.start("--no-starter", "--end-with", "7").returncode == 7
    done = ready.start("--no-starter", "--no-such-flag")
    assert done.returncode == 2
    assert "--no-such-flag" in done.stderr


@posix_only
def test_on_a_desktop_a_browser_is_opened_at_the_servers_address(ready: Checkout, tmp_path: Path) -> None:
    script = tmp_path / "browser"
    script.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened.new\nmv {tmp_path}/opened.new {tmp_path}/opened\n')
    script.chmod(0o755)
    ready.environ.update({"DISPLAY": ":99", "BROWSER": f"{script} %s"})
    process, running = serve(ready, "--no-starter")
    wait_for(tmp_path / "opened", process)
    stop(process)
    assert (tmp_path / "opened").read_text().strip() == running["url"]

    (tmp_path / "opened").unlink()
    process, _ = serve(ready, "--no-starter", "--no-browser")
    time.sleep(0.6)
    stop(process)
    assert not (tmp_path / "opened").exists()


@posix_only
def test_sigterm_ends_the_server_as_if_it_had_been_started_itself(ready: Checkout) -> None:
    process, _ = serve(ready, "--no-starter")
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM


def test_a_failed_installation_says_what_why_and_how_to_repeat(ready: Checkout) -> None:
    (ready.layout.root / "requirements" / "base.txt").write_text("no-such-thing==1\nxllamacpp==1.0\n")
    done = ready.start("--no-starter", "--port", "0")
    assert done.returncode == 1
    assert "FAILED: installing requirements/base.txt" in done.stdout
    assert "no-such-thing" in done.stdout
    assert re.search(r"again: .*start\.py --no-starter --port 0", done.stdout)
    assert "Traceback" not in done.stdout + done.stderr


def test_no_network_at_the_first_start_ends_in_words(ready: Checkout) -> None:
    done = ready.start("--no-starter", PIP_INDEX_URL="http://127.0.0.1:9/simple")
    assert done.returncode == 1
    assert "why:   pip ended with code 1" in done.stdout
    done = ready.start("--no-starter", PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="1")
    assert "why:   a package index did not answer" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_nonsense_on_the_command_line_installs_nothing(checkout: Checkout) -> None:
    done = checkout.start("--engine", "steam")
    assert done.returncode == 1
    assert "it takes auto, cpu" in done.stdout
    assert not checkout.layout.venv.exists()


def test_help_is_there_before_and_after_the_installation(ready: Checkout) -> None:
    before = ready.start("--help")
    assert before.returncode == 0
    assert "--no-starter" in before.stdout
    assert ready.start("--no-starter", "--end-with", "0").returncode == 0
    assert "port to listen on" in ready.start("-h").stdout


@posix_only
def test_output_that_nobody_reads_any_more_ends_without_a_traceback(ready: Checkout) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        ready.command("--help"), env=ready.environ, text=True, stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 1


def test_install_without_a_name_brings_back_what_is_missing(ready: Checkout) -> None:
    assert ready.start("--no-starter", "--end-with", "0").returncode == 0
    for name in ("greeting", "xllamacpp"):
        next(ready.layout.venv.glob(f"lib/python*/site-packages/{name}.py")).unlink()
    done = ready.start("install")
    assert done.returncode == 0, done.stdout
    assert "half there: greeting-1.0, xllamacpp-1.0" in done.stdout
    assert "did not finish" not in done.stdout
    assert ready.installed("import greeting, xllamacpp; print(greeting.WORD, xllamacpp.BUILD)") == "hello cpu"
    assert "half there" not in ready.start("install").stdout


def test_a_changed_requirements_file_is_installed_at_the_next_start(ready: Checkout) -> None:
    assert ready.start("--no-starter", "--end-with", "0").returncode == 0
    make_wheel(ready.index.root / "simple", "greeting", "1.1", {"greeting.py": b"WORD = 'goodbye'\n"})
    (ready.layout.root / "requirements" / "base.txt").write_text("greeting==1.1\nxllamacpp==1.0\n")
    assert ready.start("--no-starter", "--end-with", "0").returncode == 0
    assert ready.installed("import greeting; print(greeting.WORD)") == "goodbye"


def test_an_environment_whose_python_is_gone_is_made_anew(ready: Checkout) -> None:
    assert ready.start("--no-starter", "--end-with", "0").returncode == 0
    ready.layout.python.unlink()
    ready.layout.python.symlink_to("/nowhere/python3")
    done = ready.start("--no-starter", "--end-with", "0")
    assert done.returncode == 0, done.stdout
    assert "Making the Python environment" in done.stdout


@posix_only
def test_an_installation_killed_in_the_middle_is_finished_by_the_next_start(ready: Checkout) -> None:
    """kill -9 while pip copies a package of many files; the torn package must not pass for installed."""
    files = {f"greeting/part{number}.py": b"x = 1\n" * 50 for number in range(4000)}
    files |= {"greeting/__init__.py": b"from greeting.part3999 import x\nWORD = 'hello'\n"}
    make_wheel(ready.index.root / "simple", "greeting", "1.0", files)
    process = subprocess.Popen(
        ready.command("--no-starter", "--end-with", "0"), env=ready.environ, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    site = next(ready.layout.venv.glob("lib/python*/site-packages"))
    wait_for(site / "greeting" / "part100.py", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not read_stamp(ready.layout.stamp).complete
    done = ready.start("--no-starter", "--end-with", "0")
    assert done.returncode == 0, done.stdout
    assert "did not finish" in done.stdout
    assert ready.installed("import greeting; print(greeting.WORD)") == "hello"
    assert read_stamp(ready.layout.stamp).complete


@posix_only
def test_ctrl_c_during_the_installation_ends_without_a_traceback(ready: Checkout) -> None:
    slow = "import time, pathlib; pathlib.Path('began').touch(); time.sleep(60)"
    (ready.layout.root / "requirements" / "base.txt").write_text("slow\nxllamacpp==1.0\n")
    fake_pip = next(ready.layout.venv.glob("lib/python*/site-packages/pip/__main__.py"))
    fake_pip.unlink()
    fake_pip.write_text(slow)
    process = subprocess.Popen(
        ready.command("--no-starter"), env=ready.environ, text=True, start_new_session=True, cwd=ready.layout.root,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    wait_for(ready.layout.root / "began", process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to the whole group
    out = process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert "Stopped." in out
    assert "Traceback" not in out


def test_two_launchers_at_once_both_succeed(ready: Checkout) -> None:
    both = [
        subprocess.Popen(ready.command("--no-starter", "--end-with", "0"), env=ready.environ, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(2)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=200)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sum("Installing requirements/base.txt" in out for out in outputs) == 1


@pytest.fixture
def testable(ready: Checkout) -> Checkout:
    """A checkout whose pytest prints its arguments and ends with 5, with a Chromium and no further loaders."""
    (ready.layout.root / "requirements" / "dev.txt").write_text("pytest==1.0\n")
    (ready.layout.root / "requirements" / "transformers.txt").unlink(missing_ok=True)
    body = b"import sys\nprint('pytest got', sys.argv[1:], flush=True)\nsys.exit(5)\n"
    make_wheel(ready.index.root / "simple", "pytest", "1.0", {"pytest/__init__.py": b"", "pytest/__main__.py": body})
    (ready.layout.models / "SmolLM2-135M-Instruct.Q4_1.gguf").touch()
    bin_folder = ready.layout.root / "bin"
    bin_folder.mkdir()
    (bin_folder / "chromium").write_text("#!/bin/sh\necho Chromium 1.0\n")
    (bin_folder / "chromium").chmod(0o755)
    ready.environ["PATH"] = f"{bin_folder}{os.pathsep}{ready.environ['PATH']}"
    return ready


def test_test_passes_arguments_and_exit_code_on(testable: Checkout) -> None:
    done = testable.start("test", "-k", "one thing", "--help")
    assert done.returncode == 5, done.stdout
    assert "pytest got ['-k', 'one thing', '--help']" in done.stdout


def test_the_whole_suite_runs_its_files_beside_each_other(testable: Checkout) -> None:
    assert re.search(r"pytest got \['-n', '[2-4]', '--dist', 'loadfile'\]", testable.start("test").stdout)


def test_a_loader_that_cannot_be_installed_for_the_tests_is_named_and_the_tests_run(testable: Checkout) -> None:
    (testable.layout.root / "requirements" / "transformers.txt").write_text("no-such-package-anywhere\n")
    done = testable.start("test", "-k", "x")
    assert done.returncode == 5, done.stdout
    assert "so the tests of transformers are skipped" in done.stdout


def test_start_py_can_be_read_by_python_3_6() -> None:
    ast.parse((ROOT / "start.py").read_text(encoding="utf-8"), feature_version=(3, 6))


def test_a_python_that_is_too_old_is_told_in_words() -> None:
    code = (
        "import sys, runpy; real = sys.version_info; "
        "sys.version_info = type('V', (tuple,), {})((3, 9, 2, 'final', 0)); sys.argv = ['start.py', '--port', '1']; "
        "runpy.run_path('start.py', run_name='__main__')"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "needs Python 3.11 or newer; this is Python 3.9.2" in done.stdout


@posix_only
def test_the_python_that_is_named_instead_is_one_that_runs(tmp_path: Path) -> None:
    """pyenv leaves a stand-in on PATH for every version it has, which runs only the chosen ones."""
    for name, script in {"python3.19": "exit 127", "python3.18": "exit 0", "python3.10": "exit 0"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    code = "import runpy; print(runpy.run_path('start.py')['better_pythons']())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True,
        timeout=30, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "['python3.18']", done.stderr


@posix_only
def test_the_command_to_repeat_names_the_python_it_was_called_with(ready: Checkout, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python3.99"
    python.symlink_to(sys.executable)
    command = [str(python), *ready.command("--engine", "steam")[1:]]
    environ = ready.environ | {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False)
    assert re.search(r"again: python3\.99 \S*start\.py --engine steam", done.stdout)
    done = subprocess.run(command, env=ready.environ, capture_output=True, text=True, timeout=30, check=False)
    assert re.search(rf"again: {python} \S*start\.py", done.stdout)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "python3.99").write_text("#!/bin/sh\necho /another/python3.99\n")
    (tmp_path / "other" / "python3.99").chmod(0o755)
    environ["PATH"] = f"{tmp_path / 'other'}:{environ['PATH']}"
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False)
    assert re.search(rf"again: {python} \S*start\.py", done.stdout)


def test_the_launcher_imports_nothing_but_the_standard_library() -> None:
    code = (
        "import sys; sys.path.insert(0, '.'); import modules.launcher.main; "
        "loaded = {name.split('.')[0] for name in sys.modules}; "
        "print(sorted(loaded - set(sys.stdlib_module_names) - {'modules', '__main__'}))"
    )
    command = [sys.executable, "-S", "-I", "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
