"""LoRA adapters: loaded once, switched between replies without reading anything again."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers.integrations import peft as peft_integration

from loaders.base import NamedFile
from loaders.hf.sequence import Adapters
from modules.errors import BadParameter, LoadFailed


def _check_peft() -> None:
    """Raise LoadFailed where peft is missing, or older than the installed Transformers wants."""
    try:
        peft_integration.check_peft_version(min_version=peft_integration.MIN_PEFT_VERSION)
    except (ImportError, ValueError) as error:
        raise LoadFailed(f"LoRA adapters need another peft: {str(error)[:300]}",
                         hint="Run: python3 start.py install transformers") from error  # fmt: skip


class Switch:
    """The adapters of one model. `use` is called on the model's thread only.

    scales  name → strength it was loaded with
    """

    def __init__(self, model: Any, files: Sequence[NamedFile]) -> None:
        self.scales: Mapping[str, float] = {file.name: file.scale for file in files}
        self._model = model
        self._inner = {file.name: f"adapter{place}" for place, file in enumerate(files)}
        self._used: Adapters | None = None
        for file in files:
            self._load(file)
        self._layers = [module for module in model.modules() if hasattr(module, "lora_A")] if files else []
        self.use(())

    def wanted(self, asked: Mapping[str, float] | None) -> Adapters:
        """What a request is computed with. Raises BadParameter for a name there is not."""
        scales = self.scales if asked is None else asked
        for name in scales:
            if name not in self.scales:
                raise BadParameter(f"There is no adapter {name!r}.", param="lora",
                                   hint="There are: " + (", ".join(self.scales) or "none") + ".")  # fmt: skip
        return tuple(sorted((name, float(scale)) for name, scale in scales.items() if scale))

    def use(self, adapters: Adapters) -> None:
        """Have the model compute with these, and no others."""
        if adapters == self._used or not self._inner:
            return
        with torch.no_grad():
            if adapters:
                self._model.enable_adapters()
                self._model.set_adapter([self._inner[name] for name, _ in adapters])
                for layer in self._layers:
                    for name, scale in adapters:
                        if self._inner[name] in layer.scaling:
                            layer.set_scale(self._inner[name], scale)
            else:
                self._model.disable_adapters()
        self._used = adapters

    def _load(self, file: NamedFile) -> None:
        folder = Path(file.path)
        folder = folder if folder.is_dir() else folder.parent
        if not (folder / "adapter_model.safetensors").is_file():
            raise LoadFailed(f"The adapter {file.name} has no adapter_model.safetensors.",
                             hint="Pickled adapters are not read; save it again as safetensors.")  # fmt: skip
        _check_peft()
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several are what is wanted
                self._model.load_adapter(str(folder), adapter_name=self._inner[file.name])
        except (ImportError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
            raise LoadFailed(f"The adapter {file.name} does not go with this model: {str(error)[:300]}",
                             hint="Take an adapter made for this very model.") from error  # fmt: skip
        self._model.eval()
