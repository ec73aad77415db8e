"""Loading a GGUF file through the package's C interface: the model, its context, its adapters."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Mapping
from typing import Any

import llama_cpp

from loaders.base import LoadRequest, NamedFile
from modules.errors import OUT_OF_MEMORY, LoadFailed

WRITTEN_FOR = "0.3.36"
_DEBUG, _ERROR, _CONTINUED = 1, 4, 5  # ggml_log_level (ggml.h; the package's own table is an older one)
_FLASH = {"auto": -1, "off": 0, "on": 1}  # llama_flash_attn_type
_SPLIT = {"none": 0, "layer": 1, "row": 2}  # llama_split_mode
_NUMA = {"off": 0, "distribute": 1, "isolate": 2, "numactl": 3, "mirror": 4}  # ggml_numa_strategy
_ROPE = {"model": -1, "none": 0, "linear": 1, "yarn": 2, "longrope": 3}  # llama_rope_scaling_type
_MODES = {(True, False): "MMAP", (True, True): "MMAP_MLOCK", (False, True): "MLOCK", (False, False): "NONE"}
_MEAN = 1  # llama_pooling_type
_BF16 = 30  # ggml_type; the package does not name it

Progress = Callable[[float, str], None]


class EngineLog:
    """Hands llama.cpp's lines on to the worker's log, and keeps the last error for people."""

    def __init__(self) -> None:
        self.reason = ""
        self._level = _DEBUG
        self._callback = llama_cpp.llama_log_callback(self._line)  # lives as long as the engine may write
        llama_cpp.llama_log_set(self._callback, ctypes.c_void_p(0))

    def _line(self, level: int, text: bytes, _: Any) -> None:
        shown = text.decode("utf-8", "replace")
        self._level = self._level if level == _CONTINUED else level
        if self._level > _DEBUG:
            sys.stderr.write(shown)
        if level == _ERROR and "failed to load model" not in shown and shown.strip():
            self.reason = shown.strip().rpartition("error loading model: ")[2]


def check_interface() -> None:
    """Raises LoadFailed when the C functions are not those this loader calls: a wrong call ends the process."""
    wanted = {"llama_sampler_init_penalties": 5, "llama_sampler_init_dry": 7, "llama_set_adapters_lora": 4,
              "llama_sampler_init_adaptive_p": 3, "llama_sampler_init_logit_bias": 3}  # fmt: skip
    for name, count in wanted.items():
        function = getattr(llama_cpp, name, None)
        if function is None or len(function.argtypes) != count:
            raise LoadFailed(
                f"llama-cpp-python {llama_cpp.__version__} has another interface than {WRITTEN_FOR}, for which this "
                f"loader is written ({name}).",
                hint="Install that version: python3 start.py install llama-cpp-python.",
            )


class LlamaModel:
    """The model with its contexts and adapters. Raises LoadFailed with the engine's own reason."""

    def __init__(self, request: LoadRequest, context: int, progress: Progress) -> None:
        self._settings = request.settings
        self._log = EngineLog()
        self._kept: list[Any] = []
        llama_cpp.llama_backend_init()
        if numa := _NUMA[str(request.settings["numa"])]:
            llama_cpp.llama_numa_init(numa)
        self.model = llama_cpp.llama_model_load_from_file(request.path.encode(), self._model_params(progress))
        if not self.model:
            raise LoadFailed(f"llama.cpp did not load the file: {self._log.reason or 'it gave no reason'}")
        self.context: Any = None
        if llama_cpp.llama_model_has_decoder(self.model):
            self.context = self._new_context(self._context_params(context))
            if not llama_cpp.llama_get_memory(self.context):  # it reads a text whole: no reply can be written
                llama_cpp.llama_free(self.context)
                self.context = None
        self.generates = self.context is not None
        self.embedder: Any = None
        if request.settings["embeddings"] or not self.generates:
            self.embedder = self._new_context(self._embedding_params(context))
        self.adapters = {file.name: self._adapter(file) for file in request.files.get("lora", ())}
        self.scales: dict[str, float] = {}
        self.use_adapters({file.name: file.scale for file in request.files.get("lora", ())})

    @property
    def context_size(self) -> int:
        """Tokens of prompt and reply together, as the engine made it."""
        return int(llama_cpp.llama_n_ctx(self.context or self.embedder))

    @property
    def reason(self) -> str:
        """The engine's last error, "" when there was none."""
        return self._log.reason

    def use_adapters(self, scales: Mapping[str, float]) -> bool:
        """Compute with these adapters and no others. True when that is a change: what was computed is void then."""
        wanted = {name: scale for name, scale in scales.items() if scale}
        if wanted == self.scales or self.context is None:
            return False
        pointers = (llama_cpp.llama_adapter_lora_p_ctypes * len(wanted))(*(self.adapters[name] for name in wanted))
        numbers = (ctypes.c_float * len(wanted))(*wanted.values())
        if llama_cpp.llama_set_adapters_lora(self.context, pointers, len(wanted), numbers):
            raise LoadFailed("llama.cpp refused the LoRA adapters: " + (self._log.reason or "it gave no reason"))
        self.scales = wanted
        return True

    def metadata(self, key: str) -> str:
        """A text of the file's header, "" when it is not there."""
        room = 1 << 12
        while True:
            text = ctypes.create_string_buffer(room)
            count = llama_cpp.llama_model_meta_val_str(self.model, key.encode(), text, room)
            if count < 0:
                return ""
            if count < room:
                return text.raw[:count].decode("utf-8", "replace")
            room = count + 1

    def close(self) -> None:
        """Free everything, contexts before the model."""
        for context in (self.context, self.embedder):
            if context:
                llama_cpp.llama_free(context)
        for adapter in self.adapters.values():
            llama_cpp.llama_adapter_lora_free(adapter)
        llama_cpp.llama_model_free(self.model)
        self.context = self.embedder = self.model = None

    def _adapter(self, file: NamedFile) -> Any:
        found = llama_cpp.llama_adapter_lora_init(self.model, file.path.encode())
        if not found:
            why = self._log.reason or "it gave no reason"
            raise LoadFailed(f"llama.cpp did not load the LoRA adapter {file.name}: {why}")
        return found

    def _new_context(self, params: Any) -> Any:
        found = llama_cpp.llama_init_from_model(self.model, params)
        if not found:
            why = self._log.reason or "it gave no reason, most likely too little memory"
            raise LoadFailed(f"llama.cpp could not make the context: {why}", hint="Try a smaller context.",
                             code=None if self._log.reason else OUT_OF_MEMORY)  # fmt: skip
        return found

    def _model_params(self, progress: Progress) -> Any:
        settings, params = self._settings, llama_cpp.llama_model_default_params()
        layers = _whole(settings["gpu_layers"])
        params.n_gpu_layers = 0x7FFFFFFF if layers < 0 else layers
        params.split_mode = _SPLIT[str(settings["split_mode"])]
        params.main_gpu = _whole(settings["main_gpu"])
        if shares := [float(part) for part in str(settings["tensor_split"]).split(",") if part.strip()]:
            if len(shares) > llama_cpp.LLAMA_MAX_DEVICES:
                raise LoadFailed(f"tensor_split names {len(shares)} devices; this build knows at most "
                                 f"{llama_cpp.LLAMA_MAX_DEVICES}.")  # fmt: skip
            array = (ctypes.c_float * llama_cpp.LLAMA_MAX_DEVICES)(*shares)
            self._kept.append(array)
            params.tensor_split = array
        mode = _MODES[bool(settings["mmap"]), bool(settings["mlock"])]
        params.load_mode = getattr(llama_cpp, f"LLAMA_LOAD_MODE_{mode}")
        callback = llama_cpp.llama_progress_callback(_percent(progress))
        self._kept.append(callback)
        params.progress_callback = callback
        return params

    def _context_params(self, context: int) -> Any:
        settings, params = self._settings, llama_cpp.llama_context_default_params()
        params.n_ctx = context
        params.n_batch = min(_whole(settings["batch_size"]), context)
        params.n_ubatch = min(_whole(settings["ubatch_size"]), params.n_batch)
        params.n_seq_max = 1
        params.swa_full = True  # else a window's past is gone, and with it every prompt that could be used again
        if threads := _whole(settings["threads"]):
            params.n_threads = threads
        if threads := _whole(settings["threads_batch"]) or _whole(settings["threads"]):
            params.n_threads_batch = threads
        for name, key in (("type_k", "cache_type_k"), ("type_v", "cache_type_v")):
            setattr(params, name, getattr(llama_cpp, f"GGML_TYPE_{str(settings[key]).upper()}", _BF16))
        params.flash_attn_type = _FLASH[str(settings["flash_attention"])]
        params.offload_kqv = bool(settings["kv_offload"])
        params.rope_scaling_type = _ROPE[str(settings["rope_scaling"])]
        for name in ("rope_freq_base", "rope_freq_scale"):
            setattr(params, name, _real(settings[name]))
        params.yarn_orig_ctx = _whole(settings["yarn_orig_ctx"])
        return params

    def _embedding_params(self, context: int) -> Any:
        """A context of its own: texts are read whole, in one step, without a look at what comes after them."""
        params = self._context_params(context)
        params.embeddings = True
        params.n_ubatch = params.n_batch = context
        if not self.metadata(f"{self.metadata('general.architecture')}.pooling_type"):
            params.pooling_type = _MEAN
        return params


def _percent(progress: Progress) -> Callable[[float, Any], bool]:
    """Tells each percent once; loading asks a thousand times."""
    told = [0.0]

    def read(fraction: float, _: Any) -> bool:
        if fraction - told[0] >= 0.01:
            told[0] = fraction
            progress(0.03 + 0.92 * fraction, "loading the model")
        return True

    return read


def _whole(value: object) -> int:
    return int(value) if isinstance(value, (int, float)) else 0


def _real(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
