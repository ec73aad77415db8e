"""Reads a model from its folder onto its devices, with the library's errors explained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer
from transformers.utils import logging as hf_logging

from loaders.base import LoadRequest
from loaders.hf.device_map import Place, choose_dtype
from loaders.hf.missing_index import with_index
from loaders.hf.quantization import check_ready_made, ready_made, while_loading
from loaders.text.hf_folder import folder_of
from modules.errors import EnginehouseError, LoadFailed
from modules.types import ParamValue

Report = Callable[[float, str], None]
_READ, _LOADED = 0.1, 0.95  # where the weights begin and end on the way to ready


@dataclass(frozen=True, slots=True)
class OpenModel:
    """A model, ready to compute. `notes` says what was chosen, for the Model tab."""

    model: Any
    tokenizer: Any
    place: Place
    dtype: torch.dtype
    notes: Mapping[str, Any]
    processor: Any = None


def read_model_config(path: Path) -> Any:
    """The library's configuration of a model. Raises what the library raises."""
    where = _where(path)
    return AutoConfig.from_pretrained(**where, local_files_only=True, trust_remote_code=False)


_BOTH_WAYS = frozenset({"paligemma"})
"""Read in pieces, or beside other replies, they would answer something else."""


def open_model(
    path: Path, config: Any, settings: Mapping[str, ParamValue], place: Place, scratch: str, progress: Report
) -> OpenModel:
    """Load tokenizer and weights. Raises LoadFailed for what is known not to work, and what the library raises."""
    if config.model_type in _BOTH_WAYS:
        raise LoadFailed(f"{config.model_type} models read a prompt in both directions, which is not done here.",
                         hint="Look for a GGUF of this model.")  # fmt: skip
    where = _where(path)
    if "gguf_file" not in where:
        path = with_index(folder_of(path), scratch)
        where = _where(path)
    method = ready_made(config.to_dict())
    check_ready_made(method, place.device)
    dtype = choose_dtype(str(settings["dtype"]), config.get_text_config().dtype or config.dtype, place.device)
    quantisation = while_loading(settings, method, dtype.value, place.device)
    progress(0.05, "reading the tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(**where, local_files_only=True, trust_remote_code=False)
    processor = None
    if sees(config) and "gguf_file" not in where:
        processor = AutoProcessor.from_pretrained(**where, local_files_only=True, trust_remote_code=False)
    kind = AutoModelForImageTextToText if sees(config) else AutoModelForCausalLM
    values: dict[str, Any] = {"dtype": dtype.value, "local_files_only": True, "trust_remote_code": False}
    if "gguf_file" not in where:  # pickled weights are read only where there are no others, and only as numbers
        values |= {"weights_only": True, "use_safetensors": True if any(path.glob("*.safetensors")) else None}
    if quantisation is not None:
        values["quantization_config"] = quantisation
    if settings["attention"] != "auto":
        values["attn_implementation"] = str(settings["attention"])
    values |= _placed(place, scratch, bool(settings["disk_offload"]), quantisation is not None or bool(method))
    progress(_READ, "loading the weights")
    with weights_reported(progress):
        model = kind.from_pretrained(**where, **values)
    model.eval()
    notes: dict[str, Any] = {
        "engine": f"Transformers {transformers.__version__}, PyTorch {torch.__version__}",
        "architecture": type(model).__name__,
        "device": str(place.device), "device_why": place.why,
        "dtype": str(dtype.value).removeprefix("torch."), "dtype_why": dtype.why,
        "quantisation": method or str(settings["quantization"]),
        "attention": str(getattr(model.config, "_attn_implementation", None) or settings["attention"]),
    }  # fmt: skip
    if spread := getattr(model, "hf_device_map", None):
        notes["spread"] = _counted(spread)
    return OpenModel(model, tokenizer, place, dtype.value, notes, processor)


def sees(config: Any) -> bool:
    """Whether the model takes images."""
    return type(config) in AutoModelForImageTextToText._model_mapping


def main_device(model: Any, place: Place) -> torch.device:
    """Where token ids go: the first device that computes."""
    spread: Mapping[str, Any] = getattr(model, "hf_device_map", None) or {}
    used = [str(device) for device in spread.values() if str(device) not in ("disk", "cpu", "meta")]
    if spread:
        first = used[0] if used else "cpu"
        return torch.device(int(first) if first.isdigit() else first)
    return torch.device(getattr(model, "device", place.device))


@contextmanager
def weights_reported(progress: Report) -> Iterator[None]:
    """Tell how many of the weights are there, from the library's own progress bar."""

    def counted(make: Callable[..., Any], args: tuple[Any, ...], more: dict[str, Any]) -> Any:
        items = args[0] if args else more.get("iterable")
        total = more.get("total") or (len(items) if isinstance(items, Sized) else 0)
        if items is None or not total:
            return make(*args, **more, disable=True) if "disable" not in more else make(*args, **more)

        def each() -> Iterator[Any]:
            for count, item in enumerate(items):
                if count % max(1, total // 100) == 0:
                    progress(_READ + (_LOADED - _READ) * count / total, "loading the weights")
                yield item

        return make(each(), *args[1:], **{**more, "disable": True})

    before = hf_logging.set_tqdm_hook(counted)
    try:
        yield
    finally:
        hf_logging.set_tqdm_hook(before)


@contextmanager
def explained(request: LoadRequest) -> Iterator[None]:
    """What the library raises while loading, as a reason with a next step."""
    try:
        yield
    except EnginehouseError:
        raise
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise LoadFailed("The memory of the device is too small for this model.", code="out_of_memory",
                         hint="Quantise it, spread it over devices, or choose a smaller one.") from error  # fmt: skip
    except ImportError as error:
        raise LoadFailed(f"A package is missing: {_short(error)}", code="package_missing",
                         hint="Install it into the program's environment, then load again.") from error  # fmt: skip
    except Exception as error:
        said = _short(error)
        if "trust_remote_code" in said or "custom code" in said:
            raise LoadFailed(
                "This model can only be run by program code out of its own folder, which is not run here.",
                hint="Look for a GGUF of it, or a version Transformers knows by itself.",
            ) from error
        if "can't allocate memory" in said:
            raise LoadFailed("The memory is too small for this model.", code="out_of_memory",
                             hint="Quantise it, or choose a smaller one.") from error  # fmt: skip
        raise LoadFailed(f"Transformers could not load {request.model}: {said}",
                         hint="Its log has the details.") from error  # fmt: skip


def _short(error: BaseException) -> str:
    return " ".join(f"{error}".split())[:500] or type(error).__name__


def _where(path: Path) -> dict[str, Any]:
    if path.suffix == ".gguf":
        return {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    return {"pretrained_model_name_or_path": str(folder_of(path))}


def _placed(place: Place, scratch: str, disk: bool, quantised: bool) -> dict[str, Any]:
    if place.spread:
        values: dict[str, Any] = {"device_map": place.spread}
        if place.max_memory:
            values["max_memory"] = dict(place.max_memory)
        if disk:
            values |= {"offload_folder": str(Path(scratch) / "offload"), "offload_state_dict": False}
        return values
    if place.device.type == "cpu" and not quantised:
        return {}
    return {"device_map": {"": str(place.device)}}


def _counted(spread: Mapping[str, Any]) -> dict[str, int]:
    """How many parts lie on each device."""
    counts: dict[str, int] = {}
    for device in spread.values():
        counts[str(device)] = counts.get(str(device), 0) + 1
    return counts
