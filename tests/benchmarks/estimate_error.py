"""How far is the estimate of a load from what the worker then takes? A table of pairs of model and settings.

Measured: resident memory of the real worker process (pages of a mapped file count) after the load and one reply to a
prompt that fills the context nearly, or at least one physical batch: computing buffers are taken at their first use.

    .venv/bin/python tests/benchmarks/estimate_error.py                  # the starter model
    .venv/bin/python tests/benchmarks/estimate_error.py more.gguf folder # further models beside it
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from loaders import Registry, installed  # noqa: E402
from loaders.base import LoaderSpec, LoadRequest  # noqa: E402
from modules.drivers.connect import connect  # noqa: E402
from modules.engine.process import WorkerProcess  # noqa: E402
from modules.engine.worker_log import WorkerLog  # noqa: E402
from modules.formats.detect import detect  # noqa: E402
from modules.formats.facts import ModelFacts  # noqa: E402
from modules.hardware.reader import HardwareReader  # noqa: E402
from modules.models import memory  # noqa: E402
from modules.types import Failed, GenerationRequest  # noqa: E402

STARTER = ROOT / "user_data" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_PAIRS: tuple[dict[str, Any], ...] = (
    {"context": 512},
    {"context": 2048},
    {"context": 8192},
    {"context": 2048, "cache_type_k": "q8_0", "cache_type_v": "q8_0"},
    {"context": 4096, "cache_type_k": "q8_0", "cache_type_v": "q4_0"},
    {"context": 2048, "ubatch_size": 64},
    {"context": 2048, "ubatch_size": 2048, "batch_size": 2048},
    {"context": 2048, "parallel": 1},
    {"context": 2048, "parallel": 16},
    {"context": 2048, "mmap": False},
    {"context": 1024, "flash_attention": "off"},
)
TORCH_PAIRS: tuple[dict[str, Any], ...] = (
    {"context": 1024},
    {"context": 4096},
    {"context": 1024, "dtype": "bfloat16"},
    {"context": 1024, "quantization": "bnb-8bit"},
    {"context": 1024, "quantization": "bnb-nf4"},
    {"context": 1024, "cache": "static"},
    {"context": 2048, "batch_size": 1024},
)
OTHER_PAIRS: tuple[dict[str, Any], ...] = ({"context": 2048}, {"context": 1024, "mmap": False})


@dataclass(frozen=True)
class Row:
    """One pair. Bytes."""

    model: str
    loader: str
    settings: str
    estimate: int
    measured: int
    loaded: int

    @property
    def error(self) -> float:
        """Part by which the estimate is too high."""
        return self.estimate / self.measured - 1


def pairs(paths: list[Path], loader: str) -> Iterator[tuple[Path, LoaderSpec, dict[str, Any]]]:
    """Every pair that can be measured here."""
    registry = Registry()
    for path in paths:
        fmt = detect(path).format
        for spec in registry.for_format(fmt):
            if spec.estimate is None or not installed(spec) or (loader and spec.name != loader):
                continue
            known = {param.name for param in spec.params}
            usual = GGUF_PAIRS if path == STARTER else OTHER_PAIRS
            if "dtype" in known:
                usual = TORCH_PAIRS if fmt != "gguf" else TORCH_PAIRS[:1]
            for wanted in usual:
                if set(wanted) <= known:
                    yield path, spec, wanted


async def measured(path: Path, spec: LoaderSpec, settings: dict[str, Any], context: int, batch: int) -> tuple[int, int]:
    """Resident bytes after the load, and after the reply."""
    with tempfile.TemporaryDirectory() as scratch:
        request = LoadRequest(path.stem, str(path), spec.name, settings, scratch)
        process = WorkerProcess(request, spec.load, WorkerLog(Path(scratch) / "engine.log"))
        try:
            info = await process.start()
            loaded = memory.tree_bytes(process.pid or 0) or 0
            engine = connect(process, info, spec)
            tokens = min(context - 64, max(batch, 1024)) if spec.formats[0] == "gguf" else context - 64
            ids = tuple(1000 + number % 20000 for number in range(tokens))
            asked = GenerationRequest("pair", prompt=ids, params={"max_tokens": 8}, stop=())
            async for chunk in engine.generate(asked):
                if isinstance(chunk, Failed):
                    raise SystemExit(f"{path.stem} {settings}: {chunk.error}")
            after = memory.tree_bytes(process.pid or 0) or 0
            await engine.close()
            return loaded, after
        finally:
            await process.stop()


def row_of(path: Path, spec: LoaderSpec, wanted: dict[str, Any]) -> Row:
    """Estimate and measure one pair."""
    facts: ModelFacts = detect(path)
    settings = spec.check_settings(wanted)
    hardware = HardwareReader().for_engine(spec.needs)
    assert spec.estimate is not None
    estimate = spec.estimate(facts, settings, hardware)
    context = int(wanted.get("context", 1024))
    batch = int(wanted.get("ubatch_size", 512))
    loaded, after = asyncio.run(measured(path, spec, settings, context, batch))
    gc.collect()
    said = " ".join(f"{name}={value}" for name, value in wanted.items())
    return Row(path.stem, spec.name, said, estimate.total, after, loaded)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, help="GGUF files or model folders beside the starter model")
    parser.add_argument("--loader", default="", help="only this loader")
    parser.add_argument("--json", type=Path, help="write the rows there too")
    given = parser.parse_args()
    rows: list[Row] = []
    print(f"{'model':34} {'settings':44} {'estimate':>9} {'measured':>9} {'error':>7}  after load")
    for path, spec, wanted in pairs([STARTER, *given.models], given.loader):
        row = row_of(path, spec, wanted)
        rows.append(row)
        print(
            f"{row.model[:34]:34} {row.settings[:44]:44} {row.estimate / 1e6:7.1f}MB {row.measured / 1e6:7.1f}MB "
            f"{row.error:+7.1%}  {row.loaded / 1e6:.1f}MB  {row.loader}",
            flush=True,
        )
    errors = [abs(row.error) for row in rows]
    if errors:
        print(f"{len(rows)} pairs: median {statistics.median(errors):.1%}, worst {max(errors):.1%}")
    if given.json:
        given.json.write_text(json.dumps([row.__dict__ | {"error": row.error} for row in rows], indent=1))


if __name__ == "__main__":
    main()
