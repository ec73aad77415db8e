"""Fault: GGUF files with mutated headers, given to the real engine. Figure: 0 hangs, 0 servers lost, 0 without words.

    python tests/faults/gguf_to_engine.py [--files N] [--seed N]      100 unless told

Each file is the starter model with mutations in its first 200 kB. The reader refuses most of them before an engine
sees them (gguf_mutations.py is about those), so mutations are drawn until it lets one pass. Allowed ends: the load
fails with an error of ours, or it loads and answers, or fails to, in words. Afterwards nothing of the worker may be
left. A file that takes longer than `LIMIT` counts as a hang.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import psutil

from loaders import llama_cpp
from modules.drivers.connect import connect
from modules.engine.watchdog import Limits
from modules.errors import EngineError
from modules.formats.gguf import GgufError, read_header
from modules.types import Done, Failed
from tests.engine.making import MODEL, ask, collect, worker
from tests.faults.gguf_mutations import mutate
from tests.gguf_maker import GgufMaker

HEAD = 200_000  # bytes of the starter that are mutated: metadata and most of the vocabulary
HEADER = 4_000_000  # bytes within which its whole header lies
LIMIT = 60.0  # seconds for a load and eight tokens


@dataclass
class Outcome:
    """How the files ended; `wrong` names each that broke a promise."""

    ends: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    wrong: list[str] = field(default_factory=list)


async def one(folder: Path, path: Path, what: str, outcome: Outcome) -> None:
    """Load one file in a worker of its own and ask it for a few tokens."""
    process = worker(folder, llama_cpp.SPEC, str(path), Limits(), context=256, threads=1, parallel=1)
    began = time.monotonic()
    try:
        async with asyncio.timeout(LIMIT):
            engine = connect(process, await process.start(), llama_cpp.SPEC)
            last = (await collect(engine, ask("Once", params={"max_tokens": 8})))[-1]
            await engine.close()
        outcome.ends["answered" if isinstance(last, Done) else "failed while answering"] += 1
        if not isinstance(last, Done) and not (isinstance(last, Failed) and last.error["message"]):
            outcome.wrong.append(f"{what}: ended with {last}")
    except EngineError as error:
        outcome.ends["refused by the engine"] += 1
        if not error.message:
            outcome.wrong.append(f"{what}: refused without a word")
    except TimeoutError:
        outcome.wrong.append(f"{what}: neither loaded nor refused after {LIMIT:.0f} s")
    except Exception as error:  # the promise under test: nothing but errors of ours
        outcome.wrong.append(f"{what}: {type(error).__name__}: {error}")
    finally:
        pid = process.pid
        await process.stop()
    outcome.slowest = max(outcome.slowest, time.monotonic() - began)
    if pid is not None and psutil.pid_exists(pid):
        outcome.wrong.append(f"{what}: its worker is still there")


async def run(files: int, seed: int, folder: Path) -> Outcome:
    """Give `files` mutated models to the engine, one after the other."""
    dice, outcome, whole = random.Random(seed), Outcome(), MODEL.read_bytes()
    base = GgufMaker(data=bytearray(whole[:HEAD]), numbers=[(4, 4), (8, 8), (16, 8)])
    path = folder / "mutated.gguf"
    number = given = 0
    while given < files:
        head, done = mutate(dice, base)
        number += 1
        with path.open("wb") as file:
            file.write(head + whole[HEAD:HEADER])
            file.truncate(len(head) + len(whole) - HEAD)  # the reader looks at the size, not at the weights
        if readable(path):
            given += 1
            path.write_bytes(head + whole[HEAD:])
            await one(folder, path, f"{number} (seed {seed}): {done}", outcome)
    outcome.ends["refused by the reader"] = number - given
    return outcome


def readable(path: Path) -> bool:
    """Whether the reader lets the file pass."""
    try:
        read_header(path)
    except GgufError:
        return False
    return True


def main() -> int:
    """Prints the figure; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = asyncio.run(run(options.files, options.seed, Path(folder)))
    ends = ", ".join(f"{count} {end}" for end, count in outcome.ends.most_common())
    print(f"mutated GGUF files to the engine: {ends}; {len(outcome.wrong)} wrong; slowest {outcome.slowest:.1f} s")
    for line in outcome.wrong[:20]:
        print("  " + line)
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
