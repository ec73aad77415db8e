"""Exit codes and log tails in people's words."""

from __future__ import annotations

import signal

import pytest

from modules.engine import crash

# Lines as llama.cpp, ggml, PyTorch, the dynamic linker and Python write them.
LOGS = {
    "llama_model_load: error loading model: unknown model architecture: 'flying-carpet'": "flying-carpet",
    "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 8192.00 MiB on device 0: cudaMalloc failed: out of memory":
        "graphics memory",
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB": "graphics memory",
    "CUDA error: an illegal memory access was encountered\n  current device: 0": "illegal memory access",
    "ggml_aligned_malloc: failed to allocate 171798691840 bytes": "not enough memory",
    "llama_init_from_model: failed to create context with model": "not enough memory",
    "tensor 'blk.3.ffn_up.weight' data is not within the file bounds, model is corrupted or incomplete": "incomplete",
    "gguf_init_from_file_ptr: invalid magic characters: 'not ', expected 'GGUF'": "damaged",
    "llama_model_load: error loading model: missing tensor 'token_embd.weight'": "token_embd.weight",
    "error loading model hyperparameters: key not found in model: llama.block_count": "llama.block_count",
    "ImportError: libcudart.so.12: cannot open shared object file: No such file or directory": "libcudart.so.12",
    "/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found": "2.38",
    "ModuleNotFoundError: No module named 'xllamacpp'": "xllamacpp",
    "ImportError: DLL load failed while importing xllamacpp: The specified module could not be found.": "xllamacpp",
    "/src/ggml.c:2110: GGML_ASSERT(n_dims <= ggml_n_dims(a)) failed": "n_dims",
    "terminate called after throwing an instance of 'std::runtime_error'\n  what():  vk::Queue::submit": "vk::Queue",
    "srv init: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 8080": "port",
    "OSError: [Errno 28] No space left on device": "disk is full",
}  # fmt: skip


@pytest.mark.parametrize(("log", "words"), LOGS.items(), ids=[log[:40] for log in LOGS])
def test_a_log_names_its_cause(log: str, words: str) -> None:
    error = crash.load_failed(1, f"some line\n{log}\nanother line")
    assert words in error.message
    assert error.hint
    assert error.code == ("out_of_memory" if "memory" in words.split() and "access" not in words else "load_failed")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, "out"),
        (signal.SIGILL, "AVX2"),
        (signal.SIGSEGV, "crashed"),
        (signal.SIGBUS, "file"),
        (50, "50"),
    ],
)
def test_a_signal_is_explained_when_the_log_is_silent(number: int, words: str) -> None:
    error = crash.crashed(-number, "")
    assert words in error.message
    assert error.hint
    assert error.code == "engine_crashed"


def test_a_kill_by_the_system_is_believed_more_than_old_words_in_the_log() -> None:
    assert "memory ran out" in crash.crashed(-9, "GGML_ASSERT(x) failed", memory_short=True).message


def test_memory_is_blamed_for_a_kill_only_where_it_was_short() -> None:
    assert "from outside" in crash.crashed(-9, "", memory_short=False).message
    assert "or by another program" in crash.crashed(-9, "", memory_short=None).message
    codes = [crash.load_failed(-9, "", short).code for short in (True, None, False)]
    assert codes == ["out_of_memory", "out_of_memory", "load_failed"]


def test_an_exit_without_words_or_signal_gives_its_code() -> None:
    assert "exit code 3" in crash.crashed(3, "nothing known here").message


@pytest.mark.parametrize(("code", "words"), [(0xC0000005, "invalid memory"), (0xC000001D, "AVX2")])
def test_windows_codes_are_the_same_faults(code: int, words: str) -> None:
    assert words in crash.crashed(code, "").message


def test_what_the_engine_said_is_used_when_the_log_has_no_known_cause() -> None:
    assert crash.load_failed(None, "blah", said="It said this.").message == "It said this."
