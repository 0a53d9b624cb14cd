"""Pack the weights of the Silero network at 8 kHz as `_network.h` wants them.

Run: python -m bench.network_weights silero_vad.onnx [--out src/fastbridge/data/silero_vad_8k.f32]

The file of the makers (Silero VAD 6.2, MIT) holds two networks, 16 and 8 kHz, in 2.3 MB; what is
packed of it is 0.9 MB: each matrix in panels of 16 columns, its bias behind it, float32, little end
first. A convolution is a product with the samples, or bins, it reaches; what reaches only padding
is left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fastbridge._network import WEIGHTS_BYTES

OUT: Final = Path(__file__).parent.parent / "src" / "fastbridge" / "data" / "silero_vad_8k.f32"
PANEL: Final = 16
SPECTRUM: Final = 144
# Fields of ONNX's messages (onnx.proto3): where the way to the 8 kHz branch's constants leads.
GRAPH, NODE, ATTRIBUTE, OUTPUT, NAME, TENSOR, BRANCH = 7, 1, 5, 2, 1, 5, 6
DIMS, RAW = 1, 9
WIRE_VARINT, WIRE_64, WIRE_BYTES, WIRE_32 = 0, 1, 2, 5

Floats = NDArray[np.float32]


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Return the fields of a protobuf message: number, and integer or bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == WIRE_VARINT:
            yield key >> 3, varint()
            continue
        size = varint() if key & 7 == WIRE_BYTES else {WIRE_64: 8, WIRE_32: 4}[key & 7]
        yield key >> 3, message[at : at + size]
        at += size


def parts(message: bytes, number: int) -> list[bytes]:
    """Return the messages, or texts, of one field."""
    return [
        value for field, value in fields(message) if field == number and isinstance(value, bytes)
    ]


def shape_of(tensor: bytes) -> list[int]:
    """Return the sizes of a tensor."""
    return [value for field, value in fields(tensor) if field == DIMS and isinstance(value, int)]


def constants(model: bytes) -> dict[str, Floats]:
    """Return the 8 kHz network's weights by the last part of their names."""
    found: dict[str, Floats] = {}
    (graph,) = parts(model, GRAPH)
    for node in parts(graph, NODE):
        for attribute in parts(node, ATTRIBUTE):
            if parts(attribute, NAME) != [b"else_branch"]:  # the other one is of 16 kHz
                continue
            (branch,) = parts(attribute, BRANCH)
            for inner in parts(branch, NODE):
                for one in parts(inner, ATTRIBUTE):
                    for tensor in parts(one, TENSOR):
                        name = parts(inner, OUTPUT)[0].decode().rpartition("__")[2]
                        raw, shape = parts(tensor, RAW), shape_of(tensor)
                        if raw and len(raw[0]) == 4 * int(np.prod(shape)):
                            found[name] = np.frombuffer(raw[0], "<f4").reshape(shape)
    return found


def panels(matrix: Floats) -> Floats:
    """Return a matrix [inner, columns] panel by panel, each row by row."""
    inner, columns = matrix.shape
    return matrix.reshape(inner, columns // PANEL, PANEL).transpose(1, 0, 2).ravel()


def reaching(kernel: Floats, first: int, last: int) -> Floats:
    """Return a convolution [out, in, 3] as a matrix: positions `first` to `last` of its kernel."""
    taken = kernel[:, :, first : last + 1]
    return taken.transpose(2, 1, 0).reshape(-1, kernel.shape[0])


def packed(model: bytes) -> bytes:
    """Return the file of weights."""
    of = constants(model)
    spectrum = np.zeros((128, SPECTRUM), np.float32)
    spectrum[:, :130] = of["stft.forward_basis_buffer"][:, 0, :].T
    layers = [panels(spectrum)]
    for number, (first, last) in enumerate(((0, 2), (0, 2), (1, 2), (1, 1))):
        name = f"encoder.{number}.reparam_conv."
        layers += [panels(reaching(of[name + "weight"], first, last)), of[name + "bias"]]
    rnn = "decoder.rnn."
    joined = np.concatenate([of[rnn + "weight_ih"], of[rnn + "weight_hh"]], axis=1).T
    layers += [panels(joined), of[rnn + "bias_ih"] + of[rnn + "bias_hh"]]
    layers += [of["decoder.decoder.2.weight"].ravel(), of["decoder.decoder.2.bias"]]
    return np.concatenate(layers).astype("<f4").tobytes()


def main(argv: list[str] | None = None) -> int:
    """Read, pack and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("model", type=Path, help="silero_vad.onnx, as its makers ship it")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args(argv)
    weights = packed(arguments.model.read_bytes())
    if len(weights) != WEIGHTS_BYTES:
        parser.error(f"{arguments.model}: {len(weights)} bytes of weights, not {WEIGHTS_BYTES}")
    arguments.out.write_bytes(weights)
    print(f"{arguments.out}: {len(weights)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
