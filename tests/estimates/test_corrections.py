"""What loads really took, and what becomes of the next estimate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modules.estimates.corrections import HIGHEST, Correction, Footprints, corrected, ratio_of
from modules.estimates.fit import judged
from modules.estimates.values import Estimate, Share
from tests.estimates.making import GB, MB, machine

ESTIMATE = Estimate((Share("cpu", 600 * MB, 200 * MB, 100 * MB, 100 * MB),), "fits", "It takes about 1.0 GB of the "
                    "21.5 GB that are free of main memory.")  # fmt: skip


def test_few_samples_correct_little_and_many_nearly_all(tmp_path: Path) -> None:
    prints = Footprints(tmp_path / "footprints.yaml")
    assert prints.correction("a", "Q4") == Correction(1.0, 0)
    prints.learn("a", "Q4", "one", 1.4)
    assert prints.correction("a", "Q4") == Correction(1.1, 1)
    for number in range(12):
        prints.learn("a", "Q4", f"m{number}", 1.4)
    found = prints.correction("a", "Q4")
    assert 1.3 < found.factor < 1.4
    assert found.count == 13
    assert prints.correction("a", "Q8") == prints.correction("b", "Q4") == Correction()


def test_one_odd_model_does_not_spoil_the_others(tmp_path: Path) -> None:
    prints = Footprints(tmp_path / "footprints.yaml")
    for number in range(4):
        prints.learn("a", "Q4", f"m{number}", 1.0)
    prints.learn("a", "Q4", "odd", 2.9)
    assert prints.correction("a", "Q4").factor == 1.0
    assert prints.learn("a", "Q4", "absurd", 50.0) is False
    assert prints.correction("a", "Q4").count == 5


def test_a_model_loaded_often_counts_once_with_its_newest_figure(tmp_path: Path) -> None:
    prints = Footprints(tmp_path / "footprints.yaml")
    for ratio in (2.0, 2.0, 2.0, 1.0):
        prints.learn("a", "Q4", "one", ratio)
    assert prints.correction("a", "Q4") == Correction(1.0, 1)


def test_what_was_learned_outlives_the_program_and_stays_bounded(tmp_path: Path) -> None:
    file = tmp_path / "footprints.yaml"
    prints = Footprints(file)
    for number in range(40):
        prints.learn("a", "Q4", f"m{number}", 1.2)
    again = Footprints(file)
    assert again.correction("a", "Q4").count == 16
    assert again.correction("a", "Q4").factor == prints.correction("a", "Q4").factor


@pytest.mark.parametrize(
    "text", ["[1", "kinds: 3", "kinds: {a Q4: 5}", "kinds: {a Q4: {m: far, n: .nan, o: 99, p: true}}", "\0\1\2"]
)
def test_a_damaged_file_is_as_none_and_is_replaced(tmp_path: Path, text: str) -> None:
    file = tmp_path / "footprints.yaml"
    file.write_text(text)
    prints = Footprints(file)
    assert prints.correction("a", "Q4") == Correction()
    prints.learn("a", "Q4", "one", 1.4)
    assert Footprints(file).correction("a", "Q4").count == 1


def test_a_disk_that_refuses_costs_only_the_memory_of_it(tmp_path: Path) -> None:
    prints = Footprints(tmp_path / "gone" / "footprints.yaml")
    prints.learn("a", "Q4", "one", 1.4)
    prints.learn("a", "Q4", "one", 1.3)
    assert prints.correction("a", "Q4").count == 1
    assert len(prints.problems) == 1


def test_a_correction_is_said_and_the_verdict_judged_again() -> None:
    small = machine(free=1400 * MB)
    first = replace(ESTIMATE, why=f"All of it. {judged(ESTIMATE.shares, small).why}", lead="All of it. ")
    more = corrected(first, Correction(HIGHEST, 9), small)
    assert more.total == pytest.approx(1.5 * ESTIMATE.total, rel=0.001)
    assert more.verdict == "too large"
    assert more.factor == HIGHEST
    assert "Corrected by +50% after 9 earlier loads." in more.why
    assert more.why.startswith("All of it. It takes about 1.6 GB of main memory, but only 1.5 GB are free")
    assert more.shares[0].weights == ESTIMATE.shares[0].weights
    less = corrected(ESTIMATE, Correction(0.85, 1), machine())
    assert less.total == pytest.approx(0.85 * ESTIMATE.total, rel=0.001)
    assert less.shares[0].weights == ESTIMATE.shares[0].weights
    assert "after 1 earlier load." in less.why
    assert corrected(ESTIMATE, Correction(1.001, 9), machine()) is ESTIMATE


def test_buffers_that_were_not_used_yet_are_no_error_of_the_estimate() -> None:
    assert ratio_of({"cpu": 1000 * MB}, ESTIMATE) == 1.0
    assert ratio_of({"cpu": 901 * MB}, ESTIMATE) == 1.0
    assert ratio_of({"cpu": 1500 * MB}, ESTIMATE) == 1.5
    assert ratio_of({"cpu": 450 * MB}, ESTIMATE) == 0.5
    assert ratio_of({"cuda:0": 1 * GB}, ESTIMATE) is None
