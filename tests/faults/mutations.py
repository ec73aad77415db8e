"""What the fault scripts share that read mutated files: how bytes are mutated, how one reading is measured.

gguf_mutations.py and model_mutations.py say which files, and what counts as a promise broken.
"""

from __future__ import annotations

import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

Change = Callable[[random.Random, bytearray, int], None]
"""Changes the bytes in place; the number is a position in them."""
PIECES = (1, 4, 8, 100)


@dataclass
class Outcome:
    """What a run of mutations showed. `wrong` names each mutation that broke a promise."""

    count: int = 0
    accepted: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    peak_bytes: int = 0
    wrong: list[str] = field(default_factory=list)


def mutate(dice: random.Random, base: bytes, own: Mapping[str, Change], often: Sequence[str]) -> tuple[bytes, str]:
    """One mutated file, and which mutations it has: of bytes of any kind, and a format's `own`.

    `often` names what is drawn more often than the others, once for each time.
    """
    data, done = bytearray(base), []
    for _ in range(dice.choice((1, 1, 1, 2, 5))):
        kind = dice.choice((*often, *own, "flip", "cut", "insert", "swap", "repeat", "noise"))
        done.append(kind)
        at = dice.randrange(len(data)) if data else 0
        if kind in own:
            own[kind](dice, data, at)
        else:
            _change(dice, data, kind, at)
    return bytes(data), "+".join(done)


def _change(dice: random.Random, data: bytearray, kind: str, at: int) -> None:
    if kind == "flip" and data:
        data[at] ^= 1 << dice.randrange(8)
    elif kind == "cut":
        del data[at:]
    elif kind == "insert":
        data[at:at] = dice.randbytes(dice.choice(PIECES))
    elif kind == "swap":
        other = dice.randrange(len(data)) if data else 0
        data[at : at + 8], data[other : other + 8] = data[other : other + 8], data[at : at + 8]
    elif kind == "repeat":
        data[at:at] = data[at : at + dice.choice((8, 64, 4096))] * dice.choice((1, 3, 50))
    elif kind == "noise":
        data[at : at + 32] = dice.randbytes(32)


@contextmanager
def measured(outcome: Outcome, what: str, traced: bool, most_s: float) -> Iterator[None]:
    """One reading: its time of the processor and, when `traced`, its memory. What it raises is a promise broken.

    Memory is traced for some only, because that makes reading slow.
    """
    if traced:
        tracemalloc.start()
    started = time.thread_time()
    try:
        yield
    except Exception as error:
        outcome.wrong.append(f"{what}: {type(error).__name__}: {error}")
    took = time.thread_time() - started
    if traced:
        outcome.peak_bytes = max(outcome.peak_bytes, tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    outcome.slowest_s = max(outcome.slowest_s, took)
    if took > most_s:
        outcome.wrong.append(f"{what}: took {took:.2f} s")
    outcome.count += 1


def main(run: Callable[[int, int], Outcome], figure: str) -> int:
    """Prints the figure of `run(how many, seed)`, both from the command line; 1 when a promise was broken.

    `figure` is filled with the outcome's counts.
    """
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    outcome = run(count, int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    print(
        f"{figure.format(outcome=outcome)}, {len(outcome.wrong)} wrong; slowest {outcome.slowest_s * 1000:.0f} ms, "
        f"most memory {outcome.peak_bytes / 2**20:.1f} MiB"
    )
    for line in outcome.wrong[:20]:
        print("  " + line)
    return 1 if outcome.wrong else 0
