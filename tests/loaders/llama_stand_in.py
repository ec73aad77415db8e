"""A llama-server for tests: llama.cpp's own command line, read by its own parser, and its own server core.

`python llama_stand_in.py --model FILE …` serves as llama-server does. The parser is in the same library as the binding,
which keeps its parameters right behind the head of a Python object. `STAND_IN_LACKS` takes lines out of `--help`, as an
older one has none, and refuses those flags.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
from typing import Any

SERVER = 12  # common.h, enum llama_example
PARSE = "_Z19common_params_parseiPPcR13common_params13llama_examplePFviS0_E"
BEFORE = 16  # bytes of a Python object before what it holds
PROBE = 123457


def parse(words: list[str]) -> Any:
    """CommonParams as the command line says; ends the process for `--help` or what it does not know."""
    import xllamacpp
    from xllamacpp import xllamacpp as library

    params = xllamacpp.CommonParams()
    params.n_batch = PROBE
    held = ctypes.string_at(id(params), BEFORE + 64)
    if held.find(PROBE.to_bytes(4, "little")) < BEFORE:
        sys.exit("this binding keeps its parameters elsewhere")
    params.n_batch = 2048
    function = getattr(ctypes.CDLL(library.__file__), PARSE)
    function.restype = ctypes.c_bool
    arguments = (ctypes.c_char_p * (len(words) + 1))(*(word.encode() for word in words), None)
    if not function(len(words), arguments, ctypes.c_void_p(id(params) + BEFORE), SERVER, None):
        sys.exit(1)
    return params


def helped(lacks: set[str]) -> str:
    """The true `--help`, less the lines of some flags."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(write, 1)
        parse(["llama-server", "--help"])
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        text = file.read()
    os.waitpid(child, 0)
    return "\n".join(line for line in text.splitlines() if not lacks & set(re.findall(r"--[\w-]+", line[:40])))


def main() -> None:
    """Serve until it is ended."""
    lacks = set(os.environ.get("STAND_IN_LACKS", "").split())
    if sys.argv[1:] == ["--help"]:
        print(helped(lacks))
        return
    if unknown := lacks & set(sys.argv):
        sys.exit(f"error: invalid argument: {sorted(unknown)[0]}")
    import xllamacpp

    server = xllamacpp.Server(parse(["llama-server", *sys.argv[1:]]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"stand-in at {server.listening_address}", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
