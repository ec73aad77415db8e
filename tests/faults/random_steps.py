"""Random loads, unloads, requests, cancels and kills: nothing locks up, never two owners, bad names change nothing.

    python tests/faults/random_steps.py [--steps N] [--seed N]      200 unless told; the promise is for 2,000

Ends 1 on a reply or a load that never ended, an error that is not one of ours, two workers in one place, or a
program that no longer answers afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.models.test_pool import made
from tests.models.test_pool_long import run_random


async def run(folder: Path, seed: int, steps: int) -> None:
    """Raises AssertionError or TimeoutError when a promise is broken."""
    async with made(folder) as models:
        await run_random(models, random.Random(seed), steps)


def main() -> int:
    """Prints the figure; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200, help="things to do")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="the same seed does the same things")
    options = parser.parse_args()
    began, problem = time.monotonic(), ""
    with tempfile.TemporaryDirectory() as folder:
        try:
            asyncio.run(run(Path(folder), options.seed, options.steps))
        except (AssertionError, TimeoutError) as error:
            problem = f"{type(error).__name__}: {error}"
    print(
        f"random steps: {options.steps}, seed {options.seed}, {1 if problem else 0} wrong {problem}; "
        f"{time.monotonic() - began:.1f} s"
    )
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
