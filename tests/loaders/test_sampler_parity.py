"""The same logits give the same kept tokens and probabilities in llama.cpp and in our own chain.

The real llama.cpp server computes the logits of one prompt and, for every sampler, the candidates its chain ends
with (`post_sampling_probs`). Our chain gets exactly these logits and the same parameters, in our own names; llama.cpp
gets them through modules/engine/llama_request, as in the program.

Tolerance: the kept tokens are the same, but for tokens at the very edge of a cut, which rounding may put on either
side: together they may hold at most EDGE of the probability. A probability differs by at most ABSOLUTE + RELATIVE ×
itself. ENGINEHOUSE_PARITY_TABLE=FILE appends a line per case with the largest difference.
"""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from modules.drivers.llama_request import completion_body
from modules.sampling.params import check_values
from modules.types import GenerationRequest
from tests.engine.making import MODEL, real

torch = pytest.importorskip("torch", reason="PyTorch is not installed (python3 start.py install transformers)")
pytest.importorskip("llguidance", reason="llguidance is not installed (python3 start.py install transformers)")

EDGE, ABSOLUTE, RELATIVE = 1e-3, 1e-5, 1e-3
SHOWN = 1000  # candidates asked for where a sampler keeps the whole vocabulary
PROMPTS = {
    "open": "She bought apples, plums, pears, apples, bread and more plums. Then she went home and put the",
    "repeating": (
        "Once upon a time there was a small town by the sea, and in the small town by the sea there was a house. "
        '"Who lives in the house?" asked the cat: nobody knew. Once upon a time there was a small town by the sea, '
        "and in the small town by the"
    ),
}
"""Many likely next tokens, and few: the samplers that look at what was written are tried with both."""
REPETITION = ("repetition_penalty", "frequency_penalty", "presence_penalty", "dry_multiplier")
ORDERS = (
    ["temperature", "min_p", "top_k", "top_p", "typical_p", "repetition_penalty"],
    ["typical_p", "top_p", "repetition_penalty", "top_n_sigma", "dry", "temperature", "top_k"],
)
"""typical_p stands before top_n_sigma: after it llama.cpp multiplies 0 by the logarithm of 0, and from then on its
typical_p keeps the likeliest and not the typical. Ours does what its paper says in any order."""
EVERYTHING = {"temperature": 1.3, "top_k": 60, "top_p": 0.95, "min_p": 0.01, "typical_p": 0.97, "top_n_sigma": 2.5,
              "repetition_penalty": 1.15, "dry_multiplier": 0.6, "frequency_penalty": 0.1}  # fmt: skip
DYNAMIC = {"dynamic_temperature": True, "dynatemp_low": 0.3, "dynatemp_high": 1.8}
DRY = {"dry_multiplier": 0.9, "dry_base": 1.6}

CASES: dict[str, dict[str, Any]] = {
    "neutral": {},
    "top_k 7": {"top_k": 7},
    "top_k 300": {"top_k": 300},
    "top_p 0.9": {"top_p": 0.9},
    "top_p 0.3": {"top_p": 0.3},
    "min_p 0.05": {"min_p": 0.05},
    "min_p 0.001": {"min_p": 0.001},
    "typical_p 0.9": {"typical_p": 0.9},
    "typical_p 0.3": {"typical_p": 0.3},
    "top_n_sigma 1": {"top_n_sigma": 1.0},
    "top_n_sigma 2.5": {"top_n_sigma": 2.5},
    "temperature 0": {"temperature": 0.0},
    "temperature 0.4": {"temperature": 0.4},
    "temperature 1.7": {"temperature": 1.7},
    "dynamic temperature": DYNAMIC,
    "dynamic temperature, exponent 2.5": {**DYNAMIC, "dynatemp_exponent": 2.5, "top_k": 50},
    "dynamic temperature after top_n_sigma": {**DYNAMIC, "top_n_sigma": 1.5},
    "repetition 1.3": {"repetition_penalty": 1.3},
    "repetition 0.8, last 20": {"repetition_penalty": 0.8, "repetition_penalty_range": 20},
    "presence 0.7": {"presence_penalty": 0.7},
    "frequency 0.4": {"frequency_penalty": 0.4},
    "three penalties, last 33": {"repetition_penalty": 1.2, "presence_penalty": -0.5, "frequency_penalty": 0.9,
                                 "repetition_penalty_range": 33},
    "penalties, range 0": {"repetition_penalty": 1.2, "repetition_penalty_range": 0},
    "dry": DRY,
    "dry, allowed 9, last 60": {**DRY, "dry_allowed_length": 9, "repetition_penalty_range": 60},
    "dry, breakers of several tokens": {**DRY, "dry_sequence_breakers": ["sea, and", "zzz", "in the sm"]},
    "xtc": {"xtc_probability": 1.0, "xtc_threshold": 0.05},
    "xtc after top_k": {"xtc_probability": 1.0, "xtc_threshold": 0.02, "top_k": 30},
    "xtc, threshold too high to act": {"xtc_probability": 1.0, "xtc_threshold": 0.5},
    "mirostat 1": {"mirostat_mode": "1"},
    "mirostat 1, target 8": {"mirostat_mode": "1", "mirostat_tau": 8.0, "temperature": 1.4},
    "mirostat 2": {"mirostat_mode": "2"},
    "mirostat 2, target 2": {"mirostat_mode": "2", "mirostat_tau": 2.0, "temperature": 0.8},
    "adaptive-p 0.4": {"adaptive_target": 0.4},
    "adaptive-p 0.1 after min_p": {"adaptive_target": 0.1, "min_p": 0.01},
    "bias": {"logit_bias": {"8137": -100.0, "16160": 3.0, "260": -2.5}},
    "preset Balanced": {"temperature": 0.7, "top_k": 40, "top_p": 0.95, "min_p": 0.05},
    "preset Creative": {"min_p": 0.03, "xtc_probability": 1.0, "dry_multiplier": 0.8},
    "everything, usual order": EVERYTHING,
    "everything, first order": {**EVERYTHING, "sampler_priority": ORDERS[0]},
    "everything, second order": {**EVERYTHING, "sampler_priority": ORDERS[1]},
}  # fmt: skip

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.real_model,
    pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded"),
]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Llama:
    """The real server, and what it says of one prompt: its tokens, its logits, and every token's bytes."""

    http: httpx.AsyncClient
    prompt: tuple[int, ...]
    vocabulary: Any
    logits: Any = None

    async def candidates(self, params: Mapping[str, Any], shown: int = SHOWN) -> dict[int, float]:
        """Token → final probability after llama.cpp's samplers."""
        return (await self.steps(params, 1, shown, after=True))[0][1]

    async def steps(
        self, params: Mapping[str, Any], amount: int, shown: int, *, after: bool
    ) -> list[tuple[int, dict[int, float]]]:
        """The tokens of a reply, each with its candidates: probabilities after the samplers or raw logprobs."""
        checked = check_values({"seed": 5, **params, "max_tokens": amount})
        body = completion_body(GenerationRequest(id="parity", prompt=self.prompt, params=checked))
        del body["return_progress"], body["response_fields"]
        body |= {"stream": False, "n_probs": shown, "post_sampling_probs": after, "cache_prompt": False}
        answer = await self.http.post("/completion", json=body)
        assert answer.status_code == 200, answer.text
        top, value = ("top_probs", "prob") if after else ("top_logprobs", "logprob")
        return [
            (step["id"], {one["id"]: one[value] for one in step[top]})
            for step in answer.json()["completion_probabilities"]
        ]


def as_logits(logprobs: Mapping[int, float], size: int, shift: float = 0.0) -> Any:
    out = torch.full((size,), -math.inf)
    out[torch.tensor(list(logprobs))] = torch.tensor(list(logprobs.values())) + shift
    return out


@pytest.fixture(scope="module")
async def llamas(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Llama]]:
    """By the name of the prompt."""
    async with real(tmp_path_factory.mktemp("parity"), context=512) as (engine, _):
        endpoint = engine.info.endpoint
        assert endpoint is not None
        headers = {"authorization": f"Bearer {endpoint.key}"}
        async with httpx.AsyncClient(base_url=endpoint.url, headers=headers, timeout=200) as http:
            with httpx.Client(base_url=endpoint.url, headers=headers, timeout=60) as client:
                yield {name: await meet(http, client, text) for name, text in PROMPTS.items()}


async def meet(http: httpx.AsyncClient, client: httpx.Client, text: str) -> Llama:
    """Ask for the tokens of a prompt and the logits of the whole vocabulary."""
    from loaders.torch_sampling.vocabulary import Vocabulary

    def tokenize(text: str) -> Sequence[int]:
        return list(client.post("/tokenize", json={"content": text}).json()["tokens"])

    ids = tokenize(text)
    body = {"prompt": ids, "n_predict": 1, "n_probs": 10**6, "cache_prompt": False}
    answer = (await http.post("/completion", json=body)).json()["completion_probabilities"][0]["top_logprobs"]
    pieces = {one["id"]: bytes(one["bytes"]) for one in answer}
    found = Llama(http, tuple(ids), Vocabulary(len(pieces), frozenset({0, 2}), pieces.__getitem__, tokenize))
    logprobs = {one["id"]: one["logprob"] for one in answer}
    found.logits = as_logits(logprobs, len(pieces), await shift(found, logprobs))
    return found


async def shift(llama: Llama, logprobs: Mapping[int, float]) -> float:
    """What logits are above logprobs here. The server tells only logprobs, but a repetition penalty multiplies logits
    below 0 and divides those above, so that each penalised token has two explanations; the one they share is true."""
    penalty = 2.0
    after = await llama.candidates({"repetition_penalty": penalty}, 20_000)
    other = next(token for token in logprobs if token not in llama.prompt)
    explanations = []
    for token in set(llama.prompt):
        if after.get(token, 0) > 1e-9:
            lost = math.log(after[token] / after[other]) - (logprobs[token] - logprobs[other])
            explanations.append((lost / (1 / penalty - 1) - logprobs[token], lost / (penalty - 1) - logprobs[token]))
    assert len(explanations) >= 3
    return min(
        (one for pair in explanations for one in pair),
        key=lambda one: sum(min(abs(one - first), abs(one - second)) for first, second in explanations),
    )


def compare(case: str, theirs: Mapping[int, float], ours: Mapping[int, float]) -> None:
    """Fails where the two differ by more than the tolerance at the top of this file."""
    whole = len(theirs) < SHOWN  # else only the likeliest were asked for
    only = [token for token in theirs if token not in ours]
    only += [token for token in ours if token not in theirs] if whole else []
    edge = sum(max(theirs.get(token, 0.0), ours.get(token, 0.0)) for token in only)
    worst = max(abs(value - ours[token]) for token, value in theirs.items() if token in ours)
    share = max(abs(value - ours[token]) / value for token, value in theirs.items() if token in ours and value > 1e-6)
    if table := os.environ.get("ENGINEHOUSE_PARITY_TABLE"):
        with open(table, "a", encoding="utf-8") as sink:
            sink.write(f"| {case} | {len(ours)} | {len(only)} | {worst:.1e} | {share:.1e} |\n")
    assert edge <= EDGE, (case, len(theirs), len(ours), only[:10])
    for token, value in theirs.items():
        if token in ours:
            assert abs(value - ours[token]) <= ABSOLUTE + RELATIVE * value, (case, token, value, ours[token])


@pytest.mark.parametrize(
    ("prompt", "case"),
    [
        (prompt, case)
        for case, params in CASES.items()
        for prompt in PROMPTS
        if prompt == "open" or any(name in params for name in REPETITION)
    ],
)
async def test_llama_cpp_and_our_chain_end_with_the_same_candidates(
    llamas: dict[str, Llama], prompt: str, case: str
) -> None:
    from loaders.torch_sampling.chain import Sampler

    llama, params = llamas[prompt], check_values(CASES[case])
    theirs = {token: value for token, value in (await llama.candidates(params)).items() if value > 0}
    sampler = Sampler(params, llama.vocabulary, llama.prompt, seed=5)
    compare(f"{case} ({prompt})", theirs, dict(zip(*sampler.candidates(llama.logits), strict=True)))


@pytest.mark.parametrize(
    ("case", "params", "shown"),
    [
        ("adaptive-p over a reply", {"adaptive_target": 0.3, "adaptive_decay": 0.7, "top_k": 40}, 200),
        ("mirostat 2 over a reply", {"mirostat_mode": "2", "mirostat_tau": 3.0, "mirostat_eta": 0.5}, 49152),
        ("dry and penalties over a reply", {**DRY, "presence_penalty": 0.8, "repetition_penalty_range": 40,
                                            "top_k": 100, "sampler_priority": ["top_k", "dry", "penalties"]}, 200),
    ],
)  # fmt: skip
async def test_what_a_sampler_remembers_is_the_same_after_each_token(
    llamas: dict[str, Llama], case: str, params: dict[str, Any], shown: int
) -> None:
    """The same seed gives the same reply, once with the model's logprobs and once with the final candidates."""
    from loaders.torch_sampling.chain import Sampler

    llama, amount = llamas["open"], 3 if shown > SHOWN else 12
    raw = await llama.steps(params, amount, shown, after=False)
    after = await llama.steps(params, amount, SHOWN, after=True)
    assert [token for token, _ in raw] == [token for token, _ in after]
    sampler = Sampler(check_values(params), llama.vocabulary, llama.prompt, seed=5)
    for number, ((token, logprobs), (_, theirs)) in enumerate(zip(raw, after, strict=True), 1):
        logits = as_logits(logprobs, llama.vocabulary.size)
        ours = dict(zip(*sampler.candidates(logits), strict=True))
        compare(f"{case}, token {number}", {one: value for one, value in theirs.items() if value > 0}, ours)
        sampler.take(token, logits)
