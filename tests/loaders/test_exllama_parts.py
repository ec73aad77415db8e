"""The parts of the ExLlama loaders that need no library: the thread, the folder, the build that is told."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from loaders.exllama import cuda_build
from loaders.exllama.folder import read_folder
from loaders.exllama.load_errors import told_as_failures
from loaders.exllama.model_thread import Event, ModelThread
from modules.errors import LoadFailed
from tests.loaders.byte_folder import byte_folder


class Crank:
    """A generator that counts its turns, and does what a job says."""

    def __init__(self) -> None:
        self.jobs: list[str] = []
        self.turns: dict[str, int] = {}
        self.threads: set[int] = set()

    def num_remaining_jobs(self) -> int:
        return len(self.jobs)

    def enqueue(self, job: str) -> None:
        self.threads.add(threading.get_ident())
        if job == "too large":
            raise AssertionError("does not fit")
        self.jobs.append(job)

    def cancel(self, job: str) -> None:
        self.jobs.remove(job)
        if job == "sticky":
            raise RuntimeError("cannot let go")

    def clear_queue(self) -> None:
        if "lost" in self.jobs:
            raise RuntimeError("CUDA error again")
        self.jobs.clear()

    def iterate(self) -> list[Event]:
        self.threads.add(threading.get_ident())
        time.sleep(0.001)
        if "broken" in self.jobs or "lost" in self.jobs:
            raise RuntimeError("CUDA error")
        for job in self.jobs:
            self.turns[job] = self.turns.get(job, 0) + 1
        events = [{"job": job, "stage": "streaming", "eos": self.turns[job] == 3} for job in self.jobs]
        self.jobs = [job for job in self.jobs if self.turns[job] < 3 or job in ("endless", "sticky")]
        return [event | {"eos": event["eos"] and event["job"] not in ("endless", "sticky")} for event in events]


def serving() -> tuple[ModelThread, Crank]:
    thread, crank = ModelThread(), Crank()
    thread.serve(crank)
    return thread, crank


def all_of(outlet: Any) -> list[Event]:
    """Every event of a job, to its end."""
    events = []
    while not events or not events[-1]["eos"]:
        event = outlet.get(10)
        assert event is not None, "nothing came"
        events.append(event)
    return events


def test_everything_that_computes_runs_on_one_thread() -> None:
    thread, crank = serving()
    outlets = [thread.start(f"job {number}") for number in range(3)]
    assert [len(all_of(outlet)) for outlet in outlets] == [3, 3, 3]
    assert crank.threads == {thread.call(threading.get_ident)}
    assert crank.threads != {threading.get_ident()}
    with pytest.raises(ZeroDivisionError):
        thread.call(lambda: 1 // 0)


def test_a_job_that_is_refused_or_cancelled_leaves_the_others_alone() -> None:
    thread, crank = serving()
    endless = thread.start("endless")
    refused = all_of(thread.start("too large"))
    assert [str(event["error"]) for event in refused] == ["does not fit"]
    assert len(all_of(thread.start("small"))) == 3
    thread.cancel(endless)
    thread.cancel(endless)  # a second time, as a reply that ended does
    assert thread.call(crank.num_remaining_jobs) == 0
    turns = crank.turns["endless"]
    time.sleep(0.05)
    assert crank.turns["endless"] == turns
    sticky = thread.start("sticky")
    thread.cancel(sticky)
    assert len(all_of(thread.start("another"))) == 3, "an error in a cancel does not end the thread"


def test_a_fault_of_the_engine_is_told_to_every_reply_and_the_next_one_is_computed() -> None:
    thread, _ = serving()
    endless, broken = thread.start("endless"), thread.start("broken")
    for outlet in (endless, broken):
        assert str(all_of(outlet)[-1]["error"]) == "CUDA error"
    assert len(all_of(thread.start("small"))) == 3


def test_a_card_that_refuses_everything_leaves_nobody_waiting() -> None:
    thread, _ = serving()
    endless, lost = thread.start("endless"), thread.start("lost")
    for outlet in (endless, lost):
        assert str(all_of(outlet)[-1]["error"]) == "CUDA error"
    assert "load the model again" in str(all_of(thread.start("small"))[-1]["error"])
    assert thread.call(lambda: 1) == 1


def test_an_idle_thread_does_not_turn() -> None:
    thread, crank = serving()
    all_of(thread.start("small"))
    turns = dict(crank.turns)
    time.sleep(0.05)
    assert crank.turns == turns
    assert all_of(thread.start("other"))[-1]["eos"]


def test_a_folder_is_read_with_all_its_ends(tmp_path: Path) -> None:
    path = byte_folder(tmp_path / "model")
    (path / "generation_config.json").write_text(json.dumps({"eos_token_id": [300, 256]}))
    folder = read_folder(path)
    assert (folder.bos, folder.eos, folder.adds_bos, folder.trained) == ("<s>", "</s>", True, 1024)
    assert (folder.architecture, folder.bits, folder.ends) == ("LlamaForCausalLM", 4.5, (300, 256))
    assert folder.template.startswith("{{ bos_token }}")


def test_a_template_of_its_own_file_comes_first_and_a_list_gives_its_default(tmp_path: Path) -> None:
    path = byte_folder(tmp_path / "model")
    tokens = json.loads((path / "tokenizer_config.json").read_text())
    tokens["chat_template"] = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    (path / "tokenizer_config.json").write_text(json.dumps(tokens))
    assert read_folder(path).template == "plain"
    (path / "chat_template.jinja").write_text("own file")
    assert read_folder(path).template == "own file"


def test_whether_a_prompt_begins_with_a_token_is_asked_of_the_settings_and_then_of_the_tokenizer(
    tmp_path: Path,
) -> None:
    path = byte_folder(tmp_path / "model")
    tokens = json.loads((path / "tokenizer_config.json").read_text())
    (path / "tokenizer_config.json").write_text(json.dumps(tokens | {"add_bos_token": False}))
    assert read_folder(path).adds_bos is False
    (path / "tokenizer_config.json").write_text(json.dumps(tokens))
    rules = json.loads((path / "tokenizer.json").read_text())
    inner = rules["post_processor"]
    rules["post_processor"] = {"type": "Sequence", "processors": [{"type": "ByteLevel"}, inner]}
    (path / "tokenizer.json").write_text(json.dumps(rules))
    assert read_folder(path).adds_bos is True
    inner["single"] = [{"Sequence": {"id": "A", "type_id": 0}}]
    (path / "tokenizer.json").write_text(json.dumps(rules))
    assert read_folder(path).adds_bos is False


def test_what_is_no_model_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"no config\.json"):
        read_folder(tmp_path)
    path = byte_folder(tmp_path / "model")
    (path / "config.json").write_text("{")
    with pytest.raises(LoadFailed, match="cannot be read"):
        read_folder(path)


def test_the_build_is_told_file_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "packages" / "some_engine"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for name in ("a.cu", "b.cu", "c.cpp", "notes.txt"):
        (package / name).write_text("")
    monkeypatch.syspath_prepend(package.parent)
    objects = tmp_path / "cache" / "py311_cu130" / "some_ext"
    objects.mkdir(parents=True)
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cuda_build, "_LOOK_S", 0.01)
    told: list[tuple[float, str]] = []

    def until_told(words: str) -> None:
        end = time.monotonic() + 10
        while not any(words in said for _, said in told):
            assert time.monotonic() < end, told
            time.sleep(0.005)

    with cuda_build.told("some_engine", "some_ext", lambda fraction, words: told.append((fraction, words))):
        until_told("starting")
        (objects / "a.cuda.o").write_text("")
        until_told("1 of 3 files")
        (objects / "b.cuda.o").write_text("")
        (objects / "c.o").write_text("")
        until_told("3 of 3 files")
    assert [fraction for fraction, _ in told] == sorted(fraction for fraction, _ in told)
    assert max(fraction for fraction, _ in told) <= 0.3


def test_what_a_library_throws_is_told_in_words() -> None:
    with pytest.raises(LoadFailed, match="did not load the model: CUDA out of memory") as caught, told_as_failures("X"):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB\nmore lines")
    assert "smaller context" in caught.value.hint
    with pytest.raises(LoadFailed, match="AssertionError"), told_as_failures("X"):
        raise AssertionError
    with pytest.raises(LoadFailed, match="own words"), told_as_failures("X"):
        raise LoadFailed("own words")
