"""Why a server did not start: the end of its log in people's words, with a next step. Pure."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from modules.errors import OUT_OF_MEMORY, LoadFailed


@dataclass(frozen=True, slots=True)
class Reason:
    """Words of a log that name a cause; {0} in the texts is the first group."""

    words: str
    message: str
    hint: str
    is_memory: bool = False


_MEMORY = "Lower gpu_memory or the context, quantise, or spread the model over more cards."

# Ordered: the specific before the general. The words are vLLM's, SGLang's, TensorRT-LLM's, PyTorch's and argparse's.
_REASONS: tuple[Reason, ...] = (
    Reason(r"unrecognized arguments: ([^\n]+)|No such option:? ['\"]?([\w\-]+)",
           "This version of the server does not know the setting {0}.",
           "Leave that setting at its default, or install the version named in docs/remote.md."),
    Reason(r"error: argument ([^\n]+)", "The server does not take a setting: {0}.", "Change that setting."),
    Reason(r"KV cache is needed, which is larger than the available KV cache memory[^\n]*",
           "The context is too large for the memory that is left after the model.",
           "Lower the context, or raise gpu_memory.", True),
    Reason(r"max_model_len[^\n]*?(?:greater|larger) than[^\n]*?(\d{3,})|User-specified max_model_len \((\d+)\)",
           "The context is larger than what the model was made for ({0} tokens).", "Lower the context."),
    Reason(r"Free memory on device[^\n]*is less than desired|less than desired GPU memory utilization",
           "Other programs hold so much graphics memory that the share asked for cannot be had.",
           "Close them, or lower gpu_memory.", True),
    Reason(r"No available memory for the cache blocks|Not enough memory\. Please try to increase --mem-fraction-static",
           "Nothing of the memory is left for the context.", "Raise gpu_memory, or lower the context.", True),
    Reason(r"CUDA out of memory|OutOfMemoryError|HIP out of memory|cudaErrorMemoryAllocation",
           "The graphics memory is full.", _MEMORY, True),
    Reason(r"Model architectures? \[?'?([\w.]+)'?\]? (?:are|is) not supported|"
           r"Unrecognized model in|model type `?(\w+)`? but Transformers does not recognize|"
           r"Unsupported architecture:? ([\w.]+)",
           "This server does not know the model's architecture ({0}).",
           "Install a newer version of it, or use another loader."),
    Reason(r"trust_remote_code=True|trust-remote-code", "The model brings Python code of its own, which is not run.",
           "Use a model that needs none, or another loader."),
    Reason(r"Total number of attention heads \((\d+)\) must be divisible by",
           "The model's {0} attention heads cannot be spread over that many cards.",
           "Choose a tensor_parallel that divides them."),
    Reason(r"World size \((\d+)\) is larger than the number of available GPUs|"
           r"Tensor parallel size \(?(\d+)\)? (?:cannot be|is) larger|invalid device ordinal",
           "There are fewer graphics cards here than the model is to be spread over.",
           "Lower tensor_parallel and pipeline_parallel, or use the executor ray with more machines."),
    Reason(r"(?:LoRA rank|lora_rank) (\d+) is greater than max_lora_rank",
           "An adapter has rank {0}, which is more than the server takes.", "Use an adapter of a smaller rank."),
    Reason(r"Failed to infer device type|No (?:CUDA )?GPU(?:s| devices)? (?:are |is )?(?:available|found)|"
           r"Found no NVIDIA driver|CUDA driver version is insufficient|no NVIDIA GPU detected",
           "The server found no graphics card it can use.", "Look whether its driver is installed (nvidia-smi)."),
    Reason(r"kernels? (?:image )?is (?:not )?(?:available|found) for execution|compute capability ([\d.]+)",
           "The graphics card is too old for this server or for that quantisation.",
           "Use another quantisation, or another loader."),
    Reason(r"unsupported ISA|Illegal instruction", "This processor lacks instructions the server was built for.",
           "Use another loader."),
    Reason(r"(?:Cannot|can't|couldn't) connect to [^\n]*(?:ray|Ray)|ray\.exceptions|RayActorError",
           "The machines of the Ray cluster could not be reached.", "Look at the cluster with: ray status"),
    Reason(r"LocalEntryNotFoundError|OfflineModeIsEnabled|outgoing traffic has been disabled",
           "The model's folder lacks files the server looks for on the internet, which is turned off.",
           "Get the whole model: config, tokenizer and weights."),
    Reason(r"Can't load tokenizer|tokenizer[^\n]*(?:not found|does not appear to have)",
           "The model's folder has no tokenizer the server can read.", "Get the whole model, with tokenizer.json."),
    Reason(r"[Aa]ddress already in use", "The server could not open its port.", "Another program took it; try again."),
    Reason(r"No module named '([\w.]+)'", "The server's installation lacks the package {0}.", "Install it again."),
    Reason(r"([\w./-]+\.so[\d.]*): cannot open shared object", "A system library is missing: {0}.",
           "Install the package it is in."),
    Reason(r"No space left on device", "The disk is full.", "Make room, then try again."),
    Reason(r"Cannot allocate memory|MemoryError|std::bad_alloc", "There was not enough memory.",
           "Use a smaller model or context, or close other programs.", True),
)  # fmt: skip
_LAST = re.compile(r"(?:^|\s)(?:[\w.]*(?:Error|Exception)): (.{3,300})")


def load_failed(name: str, code: int, lines: Sequence[str]) -> LoadFailed:
    """The error of a server that ended while it loaded."""
    log = "\n".join(lines)
    for reason in _REASONS:
        if match := re.search(reason.words, log):
            said = next((group.strip() for group in match.groups() if group), "?")[:200]
            kind = OUT_OF_MEMORY if reason.is_memory else None
            return LoadFailed(reason.message.format(said), hint=reason.hint.format(said), code=kind)
    if code == -getattr(signal, "SIGKILL", 9):
        return LoadFailed(f"{name} was killed (signal 9), by the system because memory ran out or by another program.",
                          hint="Use a smaller model or context, or close other programs.",
                          code=OUT_OF_MEMORY)  # fmt: skip
    if code == 127:
        return LoadFailed(f"{name} could not be started.", hint="Install it again; its log says more.")
    for line in reversed(lines):
        if match := _LAST.search(line):
            return LoadFailed(f"{name} refused to load the model: {match.group(1).strip()}", hint=_SEE)
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    return LoadFailed(f"{name} ended {how} while it loaded.", hint=_SEE)


_SEE = "The engine's log has the details (Settings tab, or user_data/logs)."
