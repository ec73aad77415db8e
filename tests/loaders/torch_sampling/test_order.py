"""In which order the samplers act."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modules.drivers.llama_request import sampler_order
from modules.sampling.params import SAMPLER_NAMES
from tests.loaders.torch_sampling.making import HALVES, kept, logits

from loaders.torch_sampling.order import STEPS, step_order  # isort: skip

OURS_ALONE = {"encoder_repetition_penalty", "no_repeat_ngram", "epsilon_cutoff", "eta_cutoff", "tfs", "top_a",
              "quadratic_sampling"}  # fmt: skip


@given(st.lists(st.sampled_from(SAMPLER_NAMES), max_size=30))
def test_what_llama_cpp_has_too_stands_as_it_is_sent_to_it(names: list[str]) -> None:
    shared = [name for name in step_order(names) if name not in OURS_ALONE]
    assert [{"typical_p": "typ_p"}.get(name, name) for name in shared] == sampler_order(names)


@given(st.lists(st.sampled_from(SAMPLER_NAMES), max_size=30))
def test_every_step_is_there_once_whatever_the_list_names(names: list[str]) -> None:
    assert sorted(step_order(names)) == sorted(STEPS)


def test_an_empty_list_is_the_usual_order() -> None:
    assert step_order([]) == list(STEPS)


def test_a_named_sampler_acts_where_it_is_named() -> None:
    assert step_order(["tfs", "quadratic_sampling", "min_p"])[:3] == ["tfs", "quadratic_sampling", "min_p"]


def test_unnamed_penalties_of_ours_stand_beside_the_others_and_not_at_the_end() -> None:
    order = step_order(["temperature", "top_k", "repetition_penalty"])
    assert order[3:6] == ["penalties", "encoder_repetition_penalty", "no_repeat_ngram"]


def test_the_order_changes_what_is_kept() -> None:
    row = logits(*HALVES)
    hot = {"temperature": 4.0, "min_p": 0.3}
    assert len(kept({**hot, "sampler_priority": ["min_p", "temperature"]}, row)) == 2
    assert len(kept({**hot, "sampler_priority": ["temperature", "min_p"]}, row)) == 5
    penalised = {"top_k": 1, "presence_penalty": 2.0}
    assert kept({**penalised, "sampler_priority": ["top_k", "penalties"]}, row, prompt=[0]) == {0: 1.0}
    assert kept({**penalised, "sampler_priority": ["penalties", "top_k"]}, row, prompt=[0]) == {1: 1.0}
    greedy = {**penalised, "temperature": 0.0}
    assert kept({**greedy, "sampler_priority": ["top_k", "penalties"]}, row, prompt=[0]) == {0: 1.0}
