"""How long until the server answers /health, and how much memory it takes, with and without the UI.

Aims: under 3 s with the UI, under 1 s with --no-ui; under 250 MB. A new process each time; the file cache is warm
after the first run, which is printed apart.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from running import server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--settle", type=float, default=6.0, help="seconds to wait before memory is read")
    options = parser.parse_args()
    for flags in ((), ("--no-ui",)):
        name = "with the UI" if not flags else "--no-ui"
        times, sizes = [], []
        for index in range(options.repeats + 1):
            with tempfile.TemporaryDirectory() as folder:
                with server(Path(folder), *flags) as running:
                    time.sleep(options.settle)
                    if index:
                        times.append(running.seconds)
                        sizes.append(running.memory() / 1e6)
                    else:
                        print(f"{name}: first run {running.seconds:.2f} s")
        print(
            f"{name}: /health after {statistics.median(times):.2f} s ({min(times):.2f}–{max(times):.2f}), "
            f"memory {statistics.median(sizes):.0f} MB ({min(sizes):.0f}–{max(sizes):.0f}), n={options.repeats}"
        )


if __name__ == "__main__":
    main()
