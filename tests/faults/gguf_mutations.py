"""Fault: GGUF headers with mutations. Figure: 0 crashes, 0 hangs, 0 foreign errors, time and memory in bounds.

Run: python tests/faults/gguf_mutations.py [how many, default 5000] [seed]
The short form (500) runs in tests/formats/test_gguf.py.
"""

from __future__ import annotations

import random
import struct
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from modules.formats.gguf import GgufError, read_header  # noqa: E402
from tests.faults import mutations  # noqa: E402
from tests.faults.mutations import Outcome, measured  # noqa: E402
from tests.gguf_maker import GgufMaker, make  # noqa: E402

STARTER = ROOT / "user_data/models/SmolLM2-135M-Instruct.Q4_1.gguf"
NASTY = (0, 1, 2, 7, 8, 9, 12, 13, 255, 256, 65_535, 2**16, 2**20, 2**31 - 1, 2**31, 2**32 - 1, 2**33, 2**63 - 1, 2**63,
         2**64 - 1)  # fmt: skip


def _bases() -> list[GgufMaker]:
    bases = [make(), make(version=1), make(version=2), make(order=">"), make(metadata={}, tensors=())]
    if STARTER.exists():
        with STARTER.open("rb") as file:
            bases.append(GgufMaker(data=bytearray(file.read(200_000)), numbers=[(4, 4), (8, 8), (16, 8)]))
    return bases


def mutate(dice: random.Random, base: GgufMaker) -> tuple[bytes, str]:
    """One mutated file, and which mutations it has."""

    def number(dice: random.Random, data: bytearray, at: int) -> None:
        where, width = dice.choice(base.numbers)
        value = dice.choice((*NASTY, dice.getrandbits(64))) % 2 ** (8 * width)
        if where + width <= len(data):
            data[where : where + width] = struct.pack(base.order + {4: "I", 8: "Q"}[width], value)

    return mutations.mutate(dice, base.data, {"number": number}, ("number", "number", "flip"))


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
    """The promise under test: nothing is raised but GgufError."""
    with measured(outcome, what, traced, most_s=1.0):
        try:
            read_header(path)
            outcome.accepted += 1
        except GgufError as error:
            outcome.refused += 1
            if not error.message.endswith("."):
                outcome.wrong.append(f"{what}: said {error.message!r}")


def main() -> int:
    """Prints the figure; 1 when a promise was broken."""
    return mutations.main(run, "mutated GGUF headers: {outcome.count} read, {outcome.accepted} accepted, "
                               "{outcome.refused} refused in words")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
