"""Why a file cannot run as a model: one code for each reason, and the one table with its English text.

Code compares codes. A text is made where a person reads it, so that it can be reworded or translated freely.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from modules.errors import Unsupported

AGAIN = "Download it again."
GET_OTHER = "Get the model as GGUF or safetensors."


class Reason(StrEnum):
    """Stable words for programs; `reason_code` of the API."""

    ADAPTER = "adapter"
    ADAPTER_KIND = "adapter_kind"
    ADAPTER_NO_CONFIG = "adapter_no_config"
    ADAPTER_NO_WEIGHTS = "adapter_no_weights"
    ARCHIVE = "archive"
    BIG_ENDIAN = "big_endian"
    CANNOT_OPEN = "cannot_open"
    CLASSIFIER = "classifier"
    CONTROL_VECTOR = "control_vector"
    CTRANSLATE2 = "ctranslate2"
    CUT_HEADER = "cut_header"
    CUT_SHORT = "cut_short"
    CUT_SHORT_AT_LEAST = "cut_short_at_least"
    CUT_ZIP = "cut_zip"
    DAMAGED = "damaged"
    DOWNLOADING = "downloading"
    EMPTY = "empty"
    ENDPOINT = "endpoint"
    FOREIGN = "foreign"
    GGUF_VERSION = "gguf_version"
    GGUF_VERSION_1 = "gguf_version_1"
    HEADER_ONLY = "header_only"
    HEADER_TOO_LARGE = "header_too_large"
    IMATRIX = "imatrix"
    IN_FILE = "in_file"
    IN_PART = "in_part"
    IS_GGUF = "is_gguf"
    IS_SAFETENSORS = "is_safetensors"
    IS_ZIP = "is_zip"
    JSON_DAMAGED = "json_damaged"
    JSON_NO_OBJECT = "json_no_object"
    JSON_TOO_LARGE = "json_too_large"
    LFS_FOLDER = "lfs_folder"
    LFS_POINTER = "lfs_pointer"
    LONE_PARTS = "lone_parts"
    LONE_WEIGHTS = "lone_weights"
    MMPROJ = "mmproj"
    NAMED_CANNOT_OPEN = "named_cannot_open"
    NAMED_NOT_ORDINARY = "named_not_ordinary"
    NOT_CHAT_IMAGES = "not_chat_images"
    NOT_GGUF = "not_gguf"
    NOT_INSTALLED = "not_installed"
    NOT_ORDINARY = "not_ordinary"
    NOT_PYTORCH = "not_pytorch"
    NOT_SAFETENSORS = "not_safetensors"
    NOT_UNDERSTOOD = "not_understood"
    NO_ARCHITECTURE = "no_architecture"
    NO_INDEX = "no_index"
    NO_LOADER = "no_loader"
    NO_LOADER_FOR_PURPOSE = "no_loader_for_purpose"
    NO_PACKAGE = "no_package"
    NO_TOKENIZER = "no_tokenizer"
    NO_WEIGHTS = "no_weights"
    NO_WEIGHTS_IN_FILE = "no_weights_in_file"
    NUMPY = "numpy"
    OLD_ADAPTER = "old_adapter"
    OLD_GGML = "old_ggml"
    OLD_SESSION = "old_session"
    ONNX = "onnx"
    OTHER = "other"
    OTHER_FILE = "other_file"
    PARTS_MISSING = "parts_missing"
    PART_FILES_MISSING = "part_files_missing"
    PART_RENAMED = "part_renamed"
    PICKLE = "pickle"
    PICTURES = "pictures"
    PIECE = "piece"
    JSON_BOM = "json_bom"
    OTHER_LAYOUT = "other_layout"
    PICTURES_ADAPTER = "pictures_adapter"
    QUANTIZATION_CONFLICT = "quantization_conflict"
    SITE_ERROR = "site_error"
    SPEECH = "speech"
    TAGGER = "tagger"
    TENSORFLOW = "tensorflow"
    TENSORRT_ALONE = "tensorrt_alone"
    TORCHSCRIPT = "torchscript"
    UNKNOWN_FORMAT = "unknown_format"
    WEB_PAGE = "web_page"
    ZEROS = "zeros"
    ZIP = "zip"


TEXTS: dict[Reason, tuple[str, str]] = {
    Reason.ADAPTER: ("This is a LoRA adapter, which goes on top of another model.",
                     "Name it in that model's setting lora."),
    Reason.ADAPTER_KIND: ("This is an adapter of the kind {method}, which goes on top of another model; only LoRA is "
                          "used here.", ""),
    Reason.ADAPTER_NO_CONFIG: ("This is a LoRA adapter without its adapter_config.json.",
                               "Put it into a folder together with that file; both come from the same place."),
    Reason.ADAPTER_NO_WEIGHTS: ("The weights of this adapter are missing.",
                                "adapter_model.safetensors belongs into the same folder."),
    Reason.ARCHIVE: ("This is {what}, not a model.", "Unpack it first."),
    Reason.BIG_ENDIAN: ("It was made for big-endian computers.", "Get the usual file of the same model."),
    Reason.CANNOT_OPEN: ("The file cannot be opened: {error}.", ""),
    Reason.CLASSIFIER: ("It sorts texts into classes; it writes no text.", ""),
    Reason.CONTROL_VECTOR: ("This is a control vector, which steers another model.",
                            "Name it in that model's setting for control vectors."),
    Reason.CTRANSLATE2: ("This is a CTranslate2 model ({spec}), which no loader of this version opens.", GET_OTHER),
    Reason.CUT_HEADER: ("The file is cut short or damaged: its header goes past its end at {there}.", AGAIN),
    Reason.CUT_SHORT: ("The file is cut short: {there} of {whole} are there.", AGAIN),
    Reason.CUT_SHORT_AT_LEAST: ("The file is cut short: {there} of at least {whole} are there.", AGAIN),
    Reason.CUT_ZIP: ("The file is cut short: {there} are there, and its table of contents at the end is missing.",
                     AGAIN),
    Reason.DAMAGED: ("The header is damaged: {what}.", AGAIN),
    Reason.DOWNLOADING: ("It is still being downloaded.", ""),
    Reason.EMPTY: ("The file is empty.", AGAIN),
    Reason.ENDPOINT: ("{message}", "{hint}"),
    Reason.FOREIGN: ("This is {what}, which no loader of this version opens.", GET_OTHER),
    Reason.GGUF_VERSION: ("This is GGUF version {version}; versions 1 to 3 are known.",
                          "If the file is newer than this program, update the program."),
    Reason.GGUF_VERSION_1: ("This is GGUF version 1, which engines no longer open.",
                            "Get a newer file of the same model."),
    Reason.HEADER_ONLY: ("There is no model in this file of {size}, only a header.", ""),
    Reason.HEADER_TOO_LARGE: ("The header is far larger than that of any real model; the file is damaged.", AGAIN),
    Reason.IMATRIX: ("This is an importance matrix, a tool for quantising; it holds no model.", ""),
    Reason.IN_FILE: ("{file}: {inner}", "{inner.hint}"),
    Reason.IN_PART: ("Part {part}: {inner}", "{inner.hint}"),
    Reason.IS_GGUF: ("This is a GGUF file.", "Rename it to .gguf."),
    Reason.IS_SAFETENSORS: ("This is a safetensors file with the ending .gguf.", "Rename it to .safetensors."),
    Reason.IS_ZIP: ("This is a ZIP or PyTorch file, not GGUF.", "Unpack it, or get the model as GGUF."),
    Reason.JSON_DAMAGED: ("{file} is not JSON: it is damaged or cut short.", AGAIN),
    Reason.JSON_NO_OBJECT: ("{file} holds something else than names and values.", AGAIN),
    Reason.JSON_TOO_LARGE: ("{file} is far larger than that of any real model.", AGAIN),
    Reason.LFS_FOLDER: ("Its weights are Git LFS pointers, notes of a few lines where the weights should be "
                        "({count} of {total} files).", "Run “git lfs pull” in the folder it came from."),
    Reason.LFS_POINTER: ("This is a Git LFS pointer, a note of a few lines where the model should be.",
                         "Run “git lfs pull” in the folder it came from, or download the file itself."),
    Reason.LONE_PARTS: ("It is split in several parts, and {lacking} missing. These are weights without the folder of "
                        "their model: config.json and the tokenizer are missing.",
                        "Put the files into a folder below models, together with the other files of the same model."),
    Reason.LONE_WEIGHTS: ("These are weights without the folder of their model: config.json and the tokenizer are "
                          "missing.",
                          "Put the file into a folder below models, together with the other files of the same model."),
    Reason.MMPROJ: ("This is the image or sound part that goes with another model, not a model by itself.",
                    "Leave it beside that model: then it is used by itself. Or name it in that model's setting "
                    "mmproj."),
    Reason.NAMED_CANNOT_OPEN: ("{file} cannot be opened: {error}.", ""),
    Reason.NAMED_NOT_ORDINARY: ("{file} is not an ordinary file.", ""),
    Reason.NOT_CHAT_IMAGES: ("It looks at pictures; it writes no text.", ""),
    Reason.NOT_GGUF: ("This is not a GGUF file: it does not begin with the letters GGUF.", AGAIN),
    Reason.NOT_INSTALLED: ("The loader {loader} is not installed. Install it with: {command}", ""),
    Reason.NOT_ORDINARY: ("This is not an ordinary file.", ""),
    Reason.NOT_PYTORCH: ("{file}: This is no PyTorch file.", AGAIN),
    Reason.NOT_SAFETENSORS: ("This is not a safetensors file.", AGAIN),
    Reason.NOT_UNDERSTOOD: ("It could not be understood: {error}.", "Please report this, with the log."),
    Reason.NO_ARCHITECTURE: ("Its config.json does not say what model it is.", "Download its config.json again."),
    Reason.NO_INDEX: ("It is split in parts ({first} …) without {index}, which says which tensor is in which part.",
                      "Download {index} into the same folder."),
    Reason.NO_LOADER: ("No loader of this version opens {format} models.", "{other}"),
    Reason.NO_LOADER_FOR_PURPOSE: ("It {does}, and no loader of this version does that with {format} models.", ""),
    Reason.NO_PACKAGE: ("The loader {loader} needs a package for {format} models that is not installed: {package}.",
                        "Install it into the program's environment with: {command}"),
    Reason.NO_TOKENIZER: ("Its tokenizer is missing.", "tokenizer.json or tokenizer.model belongs there too."),
    Reason.NO_WEIGHTS: ("There are no weights in this folder.", "Download the .safetensors files into it."),
    Reason.NO_WEIGHTS_IN_FILE: ("There are no weights in this file.", ""),
    Reason.NUMPY: ("This is a file of NumPy arrays, not a model.", ""),
    Reason.OLD_ADAPTER: ("This is a LoRA adapter in the old GGLA format, which no current engine opens.",
                         "Get the adapter as GGUF or as a PEFT folder (convert_lora_to_gguf.py of llama.cpp)."),
    Reason.OLD_GGML: ("This is in the old {format} format, which no current engine opens.",
                      "Get the model as GGUF. A LLaMA model can be converted with convert_llama_ggml_to_gguf.py of "
                      "llama.cpp. KoboldCpp still opens old files, and can be used from here as an endpoint."),
    Reason.OLD_SESSION: ("This is a saved session of llama.cpp, not a model.", ""),
    Reason.ONNX: ("This is an ONNX model, which no loader of this version opens.", GET_OTHER),
    Reason.OTHER: ("It writes no text.", ""),
    Reason.OTHER_FILE: ("This is {what}, not a language model.", "{hint}"),
    Reason.PARTS_MISSING: ("It is split in {count} parts, and {lacking} missing.", "Download what is missing."),
    Reason.PART_FILES_MISSING: ("It is split in {count} parts, and of these are missing: {files}.",
                                "Download what is missing into the same folder."),
    Reason.PART_RENAMED: ("This is part {number} of a split model; it has to keep the name it was made with.", ""),
    Reason.PICKLE: ("Pickle files can run any program when opened.",
                    "Get the model as GGUF or safetensors. If you trust its maker, start with --allow-pickle: weights "
                    "are then opened in the restricted way of PyTorch."),
    Reason.PICTURES: ("It makes pictures, not text.", ""),
    Reason.PIECE: ("This is one piece of a file that was cut for its upload.",
                   "Put the pieces together in their order (Linux and macOS: cat, Windows: copy /b), then look again."),
    Reason.JSON_BOM: ("{file} begins with a byte order mark, with which the engines do not read it.",
                      "Save it as UTF-8 without a byte order mark."),
    Reason.OTHER_LAYOUT: ("Its weights are in another layout ({file}) than its config.json is for.",
                          "Download the weights that belong to it (model.safetensors or its parts with their index)."),
    Reason.PICTURES_ADAPTER: ("This is an adapter for a model that makes pictures.", ""),
    Reason.QUANTIZATION_CONFLICT: ("config.json says that it is quantised ({method}), but its weights are not.",
                                   "Download its weights or its config.json again."),
    Reason.SITE_ERROR: ("This is an error message of the download site{saved}, not a model.", AGAIN),
    Reason.SPEECH: ("It makes or hears speech; it writes no text.", ""),
    Reason.TAGGER: ("It marks or picks pieces of a text; it writes no text.", ""),
    Reason.TENSORFLOW: ("Its weights are for TensorFlow or Flax, which no loader opens.", GET_OTHER),
    Reason.TENSORRT_ALONE: ("This is a TensorRT engine by itself.",
                            "Keep it in its folder, with the config.json it was built with."),
    Reason.TORCHSCRIPT: ("This is a TorchScript program, not weights.", GET_OTHER),
    Reason.UNKNOWN_FORMAT: ("This is in no format of a language model that is known.", AGAIN),
    Reason.WEB_PAGE: ("This is a web page{saved}, not a model.",
                      "Use the page's download link; models that need a login must be downloaded logged in."),
    Reason.ZEROS: ("The file is filled with zeros: a download that did not finish.", AGAIN),
    Reason.ZIP: ("This is a ZIP archive, not a model.", "Unpack it first."),
}  # fmt: skip
"""Message and next step by code; braces are the Problem's values."""

GOES_WITH_A_MODEL: Mapping[str, Reason] = {
    "mmproj": Reason.MMPROJ, "adapter": Reason.ADAPTER, "control-vector": Reason.CONTROL_VECTOR,
}  # fmt: skip
"""By kind of file: a file with this reason is sound and goes with a model; any other reason is a fault."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason with what its text names. `str()` is the message for people."""

    code: Reason
    values: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, code: Reason, **values: object) -> Problem:
        """The problem of that code; a value may be another Problem."""
        return cls(code, values)

    def __str__(self) -> str:
        return TEXTS[self.code][0].format(**self.values)

    @property
    def hint(self) -> str:
        """The next step; "" where there is none."""
        return TEXTS[self.code][1].format(**self.values)

    @property
    def text(self) -> str:
        """Message and next step."""
        return f"{self} {self.hint}".strip()


class ModelFileError(Unsupported):
    """A model file that cannot be used; `problem` says why."""

    code = "bad_model_file"

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem), hint=problem.hint)
        self.problem = problem

    @property
    def unreadable(self) -> bool:
        """Whether the disk refused: then it may be readable the next time, unchanged."""
        return isinstance(self.__cause__, OSError)


def named_parts(lacking: Sequence[int]) -> str:
    """Numbers of parts for the text of a problem: "part 3 is", "parts 2, 3 are"."""
    named = ", ".join(str(number) for number in lacking[:5]) + (", …" if len(lacking) > 5 else "")
    return f"part {named} is" if len(lacking) == 1 else f"parts {named} are"
