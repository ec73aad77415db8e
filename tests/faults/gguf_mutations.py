"""Fault: GGUF headers with mutations. Figure: 0 crashes, 0 hangs, 0 foreign errors, time and memory in bounds.

Run: python tests/faults/gguf_mutations.py [how many, default 5000] [seed]
The short form (500) runs in tests/formats/test_gguf.py.
"""

from __future__ import annotations

import random
import struct
import sys
import tempfile
import time
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from modules.formats.gguf import GgufError, read_header  # noqa: E402
from tests.gguf_maker import GgufMaker, make  # noqa: E402

STARTER = ROOT / "user_data/models/SmolLM2-135M-Instruct.Q4_1.gguf"
NASTY = (0, 1, 2, 7, 8, 9, 12, 13, 255, 256, 65_535, 2**16, 2**20, 2**31 - 1, 2**31, 2**32 - 1, 2**33, 2**63 - 1, 2**63,
         2**64 - 1)  # fmt: skip


@dataclass
class Outcome:
    """What a run of mutations showed. `wrong` names each mutation that broke a promise."""

    count: int = 0
    accepted: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    peak_bytes: int = 0
    wrong: list[str] = field(default_factory=list)


def _bases() -> list[GgufMaker]:
    bases = [make(), make(version=1), make(version=2), make(order=">"), make(metadata={}, tensors=())]
    if STARTER.exists():
        with STARTER.open("rb") as file:
            bases.append(GgufMaker(data=bytearray(file.read(200_000)), numbers=[(4, 4), (8, 8), (16, 8)]))
    return bases


def mutate(dice: random.Random, base: GgufMaker) -> tuple[bytes, str]:
    """One mutated file, and which mutations it has."""
    data = bytearray(base.data)
    done = []
    for _ in range(dice.choice((1, 1, 1, 2, 5))):
        kind = dice.choice(("number", "number", "number", "flip", "flip", "cut", "insert", "swap", "repeat", "noise"))
        done.append(kind)
        at = dice.randrange(len(data)) if data else 0
        if kind == "number":
            where, width = dice.choice(base.numbers)
            value = dice.choice((*NASTY, dice.getrandbits(64))) % 2 ** (8 * width)
            if where + width <= len(data):
                data[where : where + width] = struct.pack(base.order + {4: "I", 8: "Q"}[width], value)
        elif kind == "flip" and data:
            data[at] ^= 1 << dice.randrange(8)
        elif kind == "cut":
            del data[at:]
        elif kind == "insert":
            data[at:at] = dice.randbytes(dice.choice((1, 4, 8, 100)))
        elif kind == "swap":
            other = dice.randrange(len(data)) if data else 0
            data[at : at + 8], data[other : other + 8] = data[other : other + 8], data[at : at + 8]
        elif kind == "repeat":
            data[at:at] = data[at : at + dice.choice((8, 64, 4096))] * dice.choice((1, 3, 50))
        elif kind == "noise":
            data[at : at + 32] = dice.randbytes(32)
    return bytes(data), "+".join(done)


def run(count: int, seed: int = 1) -> Outcome:
    """Read `count` mutated files; memory is traced for every tenth, because tracing makes reading slow."""
    dice = random.Random(seed)
    bases = _bases()
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutated.gguf"
        for number in range(count):
            raw, done = mutate(dice, dice.choice(bases))
            path.write_bytes(raw)
            if dice.random() < 0.2:  # the same header in front of a large, empty file: nothing is cut short
                with path.open("ab") as file:
                    file.truncate(2**36)
            _read(path, outcome, f"{number} (seed {seed}): {done}", traced=number % 10 == 0)
    return outcome


def _read(path: Path, outcome: Outcome, what: str, traced: bool) -> None:
    if traced:
        tracemalloc.start()
    started = time.thread_time()
    try:
        read_header(path)
        outcome.accepted += 1
    except GgufError as error:
        outcome.refused += 1
        if not error.message.endswith("."):
            outcome.wrong.append(f"{what}: said {error.message!r}")
    except Exception as error:  # the promise under test: nothing but GgufError
        outcome.wrong.append(f"{what}: {type(error).__name__}: {error}")
    took = time.thread_time() - started
    if traced:
        outcome.peak_bytes = max(outcome.peak_bytes, tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    outcome.slowest_s = max(outcome.slowest_s, took)
    if took > 1:
        outcome.wrong.append(f"{what}: took {took:.2f} s")
    outcome.count += 1


def main() -> int:
    """Prints the figure; 1 when a promise was broken."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    outcome = run(count, int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    print(
        f"mutated GGUF headers: {outcome.count} read, {outcome.accepted} accepted, {outcome.refused} refused in words, "
        f"{len(outcome.wrong)} wrong; slowest {outcome.slowest_s * 1000:.0f} ms, "
        f"most memory {outcome.peak_bytes / 2**20:.1f} MiB"
    )
    for line in outcome.wrong[:20]:
        print("  " + line)
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
