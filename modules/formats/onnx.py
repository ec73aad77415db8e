"""Knows an ONNX model by the fields its protobuf begins with (onnx/onnx.proto, ModelProto)."""

from __future__ import annotations

from modules.formats.facts import ModelFacts
from modules.formats.problems import Problem, Reason


def is_onnx(start: bytes) -> bool:
    """Whether `start` is a ModelProto: field 1, a small version number, then a field ModelProto has."""
    if len(start) < 4 or start[0] != 0x08 or not 1 <= start[1] <= 20:
        return False
    # 2 producer_name, 3 producer_version, 4 domain, 6 doc_string, 7 graph, 8 opset_import, 14 metadata_props as bytes;
    # 5 model_version as a number
    return start[2] in (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72)


def onnx_facts(start: bytes, size: int) -> ModelFacts:
    """What is known of the file; it always has a reason."""
    producer = ""
    if start[2:3] == b"\x12" and len(start) > 4 and start[3] < 64:
        producer = start[4 : 4 + start[3]].decode("utf-8", "replace")
    return ModelFacts("onnx", name=producer, size=size, problem=Problem.of(Reason.ONNX))
