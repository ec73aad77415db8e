"""Model folders as Hugging Face has them: the starter model as safetensors, made once, and workers that run it."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from loaders import transformers
from loaders.base import LoadRequest, NamedFile
from modules.drivers.connect import ConnectedEngine, connect
from modules.engine.process import WorkerProcess
from modules.engine.watchdog import Limits
from modules.engine.worker_log import WorkerLog
from tests.engine.making import MODEL, ROOT

MISSING = [name for name in ("torch", "transformers", "gguf") if importlib.util.find_spec(name) is None]
needs_torch = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
needs_folder = [
    pytest.mark.real_model,
    needs_torch,
    pytest.mark.skipif(not MODEL.exists(), reason="the starter model has not been downloaded"),
]
_MAKE = """
import sys, torch
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer
source, target = Path(sys.argv[1]), sys.argv[2]
read = AutoModelForCausalLM.from_pretrained(str(source.parent), gguf_file=source.name, dtype=torch.float32)
config = read.config
if hasattr(config, "quantization_config"):
    del config.quantization_config
model = AutoModelForCausalLM.from_config(config)
model.load_state_dict(read.state_dict())
model.tie_weights()
model.save_pretrained(target)
AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name).save_pretrained(target)
"""


@pytest.fixture(scope="session")
def hf_folder(pytestconfig: pytest.Config) -> Path:
    """The starter model's weights and tokenizer as a safetensors folder of float32; kept between runs."""
    kept = Path(pytestconfig.rootpath) / ".pytest_cache" / "models"
    kept.mkdir(parents=True, exist_ok=True)
    folder = kept / f"smollm2-{MODEL.stat().st_mtime_ns}"
    with FileLock(kept / "making.lock"):
        if not folder.is_dir():
            half = folder.with_suffix(".half")
            shutil.rmtree(half, ignore_errors=True)
            made = run_python(_MAKE, str(MODEL), str(half))
            assert made.returncode == 0, made.stderr[-2000:]
            half.rename(folder)
    return folder


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A program with torch, in a process of its own: what it warns of is not this test's."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=280
    )


@asynccontextmanager
async def running_hf(
    folder: Path, model: Path, files: Mapping[str, tuple[NamedFile, ...]] | None = None, **settings: Any
) -> AsyncIterator[tuple[ConnectedEngine, WorkerProcess]]:
    """A loaded engine and its worker, gone at the end. One thread, float32 and a small context unless told."""
    spec = transformers.SPEC
    chosen = spec.check_settings({"threads": 1, "dtype": "float32", "context": 768, "device": "cpu", **settings})
    request = LoadRequest(model.name, str(model), spec.name, chosen, str(folder), files or {})
    process = WorkerProcess(request, spec.load, WorkerLog(folder / "logs" / "engine.log"), Limits())
    try:
        engine = connect(process, await process.start(), spec)
        yield engine, process
        await engine.close()
    finally:
        await process.stop()
