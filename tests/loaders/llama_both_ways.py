"""For a process of its own: every setting, once by the binding and once by the command line through its own parser.

Prints JSON: setting → [whether it changes anything, the fields in which the two ways differ].
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from loaders.base import LoadRequest, NamedFile
from loaders.llama.binding import common_params
from loaders.llama.flags import arguments, known_flags
from loaders.llama.launch import Launch, decide
from loaders.llama.settings import SETTINGS
from modules.formats.gguf import read_header
from tests.loaders.llama_stand_in import parse

KEY = "a-key"
ODD: dict[str, Any] = {
    "tensor_split": "3,1", "override_tensor": r"blk\.0\.ffn_up=CPU", "cpu_moe": 2, "rope_scale": 2.0, "context": 512,
    "yarn_orig_ctx": 4096, "rope_freq_base": 20000.0, "batch_size": 256, "ubatch_size": 128, "prompt_cache_mib": 77,
    "draft_p_min": 0.25, "parallel": 3, "mmap": False, "flash_attention": "on", "cache_type_v": "q8_0",
    "speculation": "ngram-simple", "mode": "embeddings",
}  # fmt: skip
WITH: dict[str, dict[str, Any]] = {
    "pooling": {"mode": "embeddings"}, "ngram_match": {"speculation": "ngram-mod"},
    "ngram_draft": {"speculation": "ngram-map-k"},
}  # fmt: skip
"""Settings that need others beside them."""
PARSER_ONLY = frozenset({"cors_origins_explicit", "default_template_kwargs", "speculative.draft.mparams.hf_file"})
"""What the parser notes for itself."""


def odd(name: str) -> Any:
    """A value that is not the default."""
    param = next(one for one in SETTINGS if one.name == name)
    if name in ODD:
        return ODD[name]
    if param.kind == "bool":
        return not param.default
    if param.kind == "choice":
        return param.choices[1]
    return param.check(3 if param.kind == "int" else 0.5)


def launch_of(model: str, folder: str, settings: dict[str, Any], files: dict[str, tuple[NamedFile, ...]]) -> Launch:
    complete = {param.name: param.default for param in SETTINGS} | settings
    request = LoadRequest("m", model, "llama.cpp", complete, folder, files)
    return decide(request, read_header(Path(model)))


def dump(params: Any, prefix: str = "") -> dict[str, str]:
    """Every field as text."""
    found: dict[str, str] = {}
    for name in dir(params):
        value = None if name.startswith("_") else getattr(params, name)
        if value is None or callable(value):
            continue
        if prefix + name in PARSER_ONLY:
            continue
        if name == "types":
            value = [one for one in value if not one.name.endswith("_NONE")]  # the parser adds to it
        if name == "lora_adapters":
            value = [(one.path, round(one.scale, 6)) for one in value]
        if type(value).__module__.startswith("xllamacpp") and not hasattr(type(value), "__members__"):
            found |= dump(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = repr(value)
    return found


def main() -> None:
    """Arguments: a model, a folder, a LoRA adapter, an image part."""
    import xllamacpp

    model, folder, adapter, image_part = sys.argv[1:5]
    os.environ["LLAMA_API_KEY"] = KEY
    stand_in = str(Path(__file__).with_name("llama_stand_in.py"))
    text = subprocess.run([sys.executable, stand_in, "--help"], capture_output=True, text=True, check=True).stdout
    known = known_flags(text)
    cases: dict[str, tuple[dict[str, Any], dict[str, tuple[NamedFile, ...]]]] = {
        "nothing": ({}, {}),
        "lora": ({}, {"lora": (NamedFile("a", adapter, 0.5), NamedFile("b", adapter + ",2.gguf", 2.0))}),
        "mmproj": ({}, {"mmproj": (NamedFile("i", image_part),)}),
        "draft_model": ({}, {"draft_model": (NamedFile("d", model),)}),
    }
    for param in SETTINGS:
        if param.kind == "files":
            continue
        files = {"draft_model": (NamedFile("d", model),)} if param.name.startswith("draft_") else {}
        if param.name in ("image_min_tokens", "image_max_tokens", "mmproj_offload"):
            files = {"mmproj": (NamedFile("i", image_part),)}
        cases[param.name] = ({**WITH.get(param.name, {}), param.name: odd(param.name)}, files)
    for kind in ("draft-simple", "draft-mtp", "draft-eagle3", "ngram-simple", "ngram-map-k4v", "ngram-cache"):
        files = {"draft_model": (NamedFile("d", model),)} if kind.startswith("draft") else {}
        cases[f"speculation {kind}"] = ({"speculation": kind}, files)
    cases["mode rerank"] = ({"mode": "rerank"}, {})
    out: dict[str, tuple[bool, dict[str, tuple[str, str]]]] = {}
    plain: dict[str, str] = {}
    for name, (settings, files) in cases.items():
        launch = launch_of(model, folder, settings, files)
        bound = dump(common_params(xllamacpp, launch, 8123, KEY))
        plain = plain or bound
        if launch.slots:
            Path(launch.slots).mkdir(parents=True, exist_ok=True)
        words, missing = arguments(launch, 8123, known)
        assert not missing, missing
        said = dump(parse(["llama-server", *words]))
        out[name] = (bound != plain, {key: (bound[key], said[key]) for key in bound if bound[key] != said[key]})
    print(json.dumps(out))


if __name__ == "__main__":
    main()
