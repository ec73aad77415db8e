"""Fault: model files other than GGUF with mutations. Figure: nothing raised, 0 hangs, time and memory bounded.

Run: python tests/faults/model_mutations.py [how many, default 5000] [seed]
The short form (500) runs in tests/formats/test_mutations.py.
"""

from __future__ import annotations

import json
import random
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from modules.formats.detect import detect
from tests.faults import mutations
from tests.faults.mutations import Outcome, measured
from tests.model_maker import ONNX, hf_folder, old_ggml, peft_folder, safetensors, torch_legacy, torch_zip

NASTY = (b"0", b"-1", b"1e400", b"99999999999999999999", b"null", b"[]", b"{}", b'""', b"true", b"[" * 3000,
         b'{"a":' * 3000, b'"\\ud800"', b"NaN", b"-Infinity", b'"' + b"x" * 5000 + b'"', b"9" * 5000)  # fmt: skip
CARD = "---\nlanguage:\n- en\nbase_model: a/b\ntags: [x]\n---\n"


def _whole_folder(folder: Path) -> Path:
    """A folder with every file that is read, so that a mutation can hit any of them."""
    tokenizer = {"chat_template": "{{ tools }}", "added_tokens_decoder": {"1": {"content": "x"}}}
    hf_folder(folder, parts=2, tokenizer=tokenizer, README__md=CARD)
    config = json.loads((folder / "config.json").read_text())
    config |= {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 8, "id2label": {"0": "x"},
               "quantization_config": {"quant_method": "hqq", "bits": 4, "config_groups": {"a": {"weights": {}}}},
               "text_config": {"hidden_size": 8, "sliding_window_pattern": 6}, "vision_config": {}}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "special_tokens_map.json").write_text('{"additional_special_tokens": [{"content": "<|fim_prefix|>"}]}')
    (folder / "quantize_config.json").write_text('{"bits": 4, "group_size": 128}')
    return folder


_FILES: tuple[tuple[str, Callable[[], bytes]], ...] = (
    ("x.safetensors", safetensors),
    ("x.safetensors", lambda: safetensors(metadata={"format": "pt"})),
    ("x.bin", lambda: old_ggml(b"lmgg", 32000, 4096, 256, 32, 32, 128, 2)),
    ("x.bin", lambda: old_ggml(b"lmgg", 50257, 1024, 768, 12, 12, 1, 50257)),
    ("x.bin", lambda: old_ggml(b"fmgg", 50277, 1024, 24, 7, version=101)),
    ("x.pt", torch_zip),
    ("x.pt", torch_legacy),
    ("x.onnx", lambda: ONNX),
    ("x.endpoint.yaml", lambda: b"url: http://127.0.0.1:1\nmodel: x\ncontext: 5\n"),
)  # fmt: skip


def mutate(dice: random.Random, base: bytes) -> tuple[bytes, str]:
    """One mutated file, and which mutations it has."""
    return mutations.mutate(dice, base, {"value": _replace_value, "length": _replace_length}, ("value", "value"))


def _replace_value(dice: random.Random, data: bytearray, at: int) -> None:
    """Another value for one that stands behind a colon or a comma."""
    places = [at for at, one in enumerate(data[:20_000]) if one in b":,["]
    if not places:
        return
    start = dice.choice(places) + 1
    end = next((at for at in range(start, min(len(data), start + 200)) if data[at] in b",}]\n"), start)
    data[start:end] = dice.choice(NASTY)


def _replace_length(dice: random.Random, data: bytearray, at: int) -> None:
    """Another number where formats keep lengths: at the beginning, near the end, anywhere."""
    if len(data) >= 8:
        where = dice.choice((0, max(0, len(data) - 12), at if at <= len(data) - 8 else 0))
        data[where : where + 8] = struct.pack("<Q", dice.choice((0, 1, 2**31, 2**63, dice.getrandbits(40))))


def run(count: int, seed: int = 1) -> Outcome:
    """Look at `count` mutated files and folders; memory is traced for every tenth, because that makes it slow."""
    dice = random.Random(seed)
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        whole = _whole_folder(root / "whole")
        adapter = peft_folder(root / "adapter")
        for number in range(count):
            what = f"{number} (seed {seed})"
            if dice.random() < 0.5:
                source = dice.choice((whole, whole, adapter))
                target = root / "mutated"
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(source, target)
                path = dice.choice(sorted(target.iterdir()))
                raw, done = mutate(dice, path.read_bytes())
                path.write_bytes(raw)
                _look(target, outcome, f"{what} {path.name}: {done}", traced=number % 10 == 0)
            else:
                ending, made = dice.choice(_FILES)
                raw, done = mutate(dice, made())
                path = root / ending
                path.write_bytes(raw)
                if dice.random() < 0.2:  # the same in front of a large, empty file: nothing is cut short
                    with path.open("ab") as file:
                        file.truncate(2**36)
                _look(path, outcome, f"{what} {ending}: {done}", traced=number % 10 == 0)
                path.unlink()
    return outcome


def _look(path: Path, outcome: Outcome, what: str, traced: bool) -> None:
    """The promise under test: nothing is raised."""
    with measured(outcome, what, traced, most_s=1.8):
        facts = detect(path)
        outcome.refused += bool(facts.reason)
        outcome.accepted += not facts.reason
        if facts.reason and not facts.reason.endswith((".", "?", ")")):
            outcome.wrong.append(f"{what}: said {facts.reason!r}")
        json.dumps([facts.arch, facts.quant, dict(facts.extra)]).encode()


def main() -> int:
    """Prints the figure; 1 when a promise was broken."""
    return mutations.main(run, "mutated model files: {outcome.count} looked at, {outcome.accepted} accepted, "
                               "{outcome.refused} with a reason")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
