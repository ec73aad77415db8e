"""A launch as the command line of a llama-server, new or old: what it does not know is left out and said.

Source: llama.cpp, common/arg.cpp; older names and ik_llama.cpp's are the further ones in each list.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from loaders.base import NamedFile
from loaders.llama.binding import similarity
from loaders.llama.flag_table import ROWS, default
from loaders.llama.launch import RERANK, TEXT, Launch
from loaders.llama.ngram_flags import LEAST_GUESSED, LENGTHS
from loaders.llama.tensors import places
from loaders.llama.threads import processor_threads
from modules.errors import LoadFailed


@dataclass(frozen=True, slots=True)
class Flag:
    """One thing to say on the command line.

    names    the flag's names, the newest first
    values   what follows it
    setting  whose it is; "" for what nobody set: then it is left out silently where it is not known
    """

    names: tuple[str, ...]
    values: tuple[str, ...] = ()
    setting: str = ""


def known_flags(help_text: str) -> Mapping[str, bool]:
    """Flags a `--help` names → whether a value follows. They stand at the start of a line, before what they mean."""
    known: dict[str, bool] = {}
    for line in help_text.splitlines():
        if not re.match(r" {0,16}--?[a-zA-Z]", line):  # deeper stands what a flag means
            continue
        head = re.split(r"\s{2,}(?=[^-\s<\[{])", line.strip(), maxsplit=1)[0]
        names = re.findall(r"(?<![\w\[|])--?[a-zA-Z][\w-]*", head)
        rest = re.sub(r"(?<![\w\[|])--?[a-zA-Z][\w-]*", "", head).strip(" ,")
        for name in names:
            known[name] = bool(rest)
    return known


def arguments(launch: Launch, port: int, known: Mapping[str, bool]) -> tuple[list[str], list[str]]:
    """(the arguments, settings this llama-server does not know). The key is not among them: it goes by environment.

    Raises LoadFailed for a file that cannot be named on the command line, or one the server cannot load.
    """
    words: list[str] = []
    missing: list[str] = []
    for flag in (*_serving(launch, port), *_sizes(launch, known), *_rows(launch), *_memory(launch, known),
                 *_adapters(launch), *_guesses(launch)):  # fmt: skip
        name = next((name for name in flag.names if name in known), None)
        if name is not None:
            words += (name, *flag.values) if known[name] else (name,)
        elif flag.setting in ("lora", "control_vectors", "mmproj", "draft_model", "mode"):
            raise LoadFailed(f"This llama-server has no {flag.names[0]}, which {flag.setting} needs.",
                             hint="Use a newer one, or leave it out.")  # fmt: skip
        elif flag.setting and flag.setting not in missing:
            missing.append(flag.setting)
    return words, missing


def _serving(launch: Launch, port: int) -> Iterator[Flag]:
    yield Flag(("--model",), (launch.path,))
    yield Flag(("--host",), ("127.0.0.1",))
    yield Flag(("--port",), (str(port),))
    yield Flag(("--cors-origins",), ("",))
    yield Flag(("--no-ui", "--no-webui"))
    yield Flag(("--slots",))
    yield Flag(("--jinja",))
    yield Flag(("--no-prefill-assistant",))
    yield Flag(("--threads-http",), (str(int(launch.number("parallel")) + 32),))
    yield Flag(("--slot-prompt-similarity",), (f"{similarity(launch):g}",))
    if launch.slots:
        yield Flag(("--slot-save-path",), (launch.slots,))
    if launch.mode.value == RERANK:
        yield Flag(("--reranking", "--rerank"), (), "mode")
    elif launch.mode.value != TEXT:
        yield Flag(("--embedding", "--embeddings"), (), "mode")


def _sizes(launch: Launch, known: Mapping[str, bool]) -> Iterator[Flag]:
    threads = processor_threads(int(launch.number("threads")))
    batch = int(launch.number("batch_size"))
    yield Flag(("--ctx-size",), (str(launch.context.value),))
    if launch.trained and launch.context.value > launch.trained:  # else the server cuts it to what the file says
        yield Flag(
            ("--override-kv",), (f"{launch.architecture}.context_length=int:{launch.context.value}",), "rope_scale"
        )
    yield Flag(("--parallel",), (str(int(launch.number("parallel"))),))
    yield Flag(("--kv-unified",))
    yield Flag(("--threads",), (str(threads),))
    yield Flag(("--threads-batch",), (str(int(launch.number("threads_batch")) or threads),))
    yield Flag(("--batch-size",), (str(batch),))
    yield Flag(("--ubatch-size",), (str(min(int(launch.number("ubatch_size")), batch)),))
    attention = launch.text("flash_attention")
    if known.get("--flash-attn", True):
        yield Flag(("--flash-attn",), (attention,), "flash_attention" if attention != "auto" else "")
    elif attention == "on":  # before it could be chosen: the flag alone turns it on
        yield Flag(("--flash-attn",), (), "flash_attention")
    yield Flag(("--cache-ram",), (str(int(launch.number("prompt_cache_mib"))),))
    if not launch.values["context_shift"]:
        yield Flag(("--no-context-shift",))
    if scale := launch.number("rope_scale"):
        yield Flag(("--rope-scale",), (f"{scale:g}",), "rope_scale")


def _rows(launch: Launch) -> Iterator[Flag]:
    for row in ROWS:
        value = launch.values[row.setting]
        if value != default(row.setting):
            said = f"{value:.9g}" if isinstance(value, float) else str(value)
            yield Flag(row.flags, () if isinstance(value, bool) else (said,), row.setting)


def _memory(launch: Launch, known: Mapping[str, bool]) -> Iterator[Flag]:
    mapped, locked = bool(launch.values["mmap"]), bool(launch.values["mlock"])
    if "--load-mode" in known:
        mode = {(True, False): "mmap", (True, True): "mmap+mlock", (False, True): "mlock", (False, False): "none"}
        yield Flag(("--load-mode",), (mode[mapped, locked],))
    else:
        if not mapped:
            yield Flag(("--no-mmap",), (), "mmap")
        if locked:
            yield Flag(("--mlock",), (), "mlock")
    if shares := launch.text("tensor_split").replace(" ", ""):
        yield Flag(("--tensor-split",), (shares,), "tensor_split")
    if where := places(int(launch.number("cpu_moe")), launch.text("override_tensor")):
        yield Flag(
            ("--override-tensor",), (where,), "override_tensor" if launch.values["override_tensor"] else "cpu_moe"
        )


def _adapters(launch: Launch) -> Iterator[Flag]:
    for file in launch.files.get("lora", ()):
        yield Flag(("--lora-scaled",), (_scaled(file),), "lora")
    for file in launch.files.get("control_vectors", ()):
        yield Flag(("--control-vector-scaled",), (_scaled(file),), "control_vectors")
    start, end = int(launch.number("control_vector_start")), int(launch.number("control_vector_end"))
    if launch.files.get("control_vectors") and (start or end):
        yield Flag(("--control-vector-layer-range",), (str(start or 1), str(end or launch.layers)), "control_vectors")
    if mmproj := launch.files.get("mmproj"):
        yield Flag(("--mmproj",), (mmproj[0].path,), "mmproj")


def _scaled(file: NamedFile) -> str:
    """`path:scale` as one item of a list with commas. A relative path has no drive letter and its colon."""
    path = os.path.relpath(file.path) if ":" in file.path else file.path
    if ":" in path or '"' in path:
        raise LoadFailed(f"The file {file.name} cannot be named on a command line of llama-server.",
                         hint="Rename it without : and quotation marks.")  # fmt: skip
    item = f"{path}:{file.scale:g}"
    return f'"{item}"' if "," in item else item


def _guesses(launch: Launch) -> Iterator[Flag]:
    if launch.speculation != "off":
        # A server from before the kinds were named speculates with the draft model alone.
        yield Flag(
            ("--spec-type",), (launch.speculation,), "" if launch.speculation == "draft-simple" else "speculation"
        )
    if draft := launch.files.get("draft_model"):
        yield Flag(("--spec-draft-model", "--model-draft"), (draft[0].path,), "draft_model")
    if (lengths := LENGTHS.get(launch.speculation)) is None:
        return
    if match := int(launch.number("ngram_match")):
        yield Flag((lengths.match[0],), (str(match),), "ngram_match")
    if most := int(launch.number("ngram_draft")):
        yield Flag((lengths.most[0],), (str(most),), "ngram_draft")
        if lengths.least[0]:
            yield Flag((lengths.least[0],), (str(min(LEAST_GUESSED, most)),), "ngram_draft")
