"""Plays vectors to a small Verilog design and returns what it said: how models of FPGA cells are tested."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path

from sim.verilate import VERILATOR_FLAGS, build

PLAYER = Path(__file__).with_name("vectors.cpp")


class Fields:
    """Named fields of a vector, the first one lowest.

    Parameters
    ----------
    bits : the width of each field.
    """

    def __init__(self, bits: Mapping[str, int]) -> None:
        self.bits = dict(bits)

    @property
    def width(self) -> int:
        return sum(self.bits.values())

    def pack(self, values: Mapping[str, int]) -> int:
        """The vector; every field must be given, and fit."""
        vector, at = 0, 0
        for name, bits in self.bits.items():
            if not 0 <= values[name] < 1 << bits:
                raise ValueError(f"{name} is {values[name]}, which does not fit {bits} bits")
            vector, at = vector | values[name] << at, at + bits
        return vector

    def unpack(self, vector: int) -> dict[str, int]:
        values: dict[str, int] = {}
        for name, bits in self.bits.items():
            values[name] = vector & (1 << bits) - 1
            vector >>= bits
        return values

    def wires(self, source: str) -> str:
        """Verilog: a wire for each field."""
        lines, at = "", 0
        for name, bits in self.bits.items():
            lines, at = lines + f"    wire [{bits - 1}:0] {name} = {source}[{at} +: {bits}];\n", at + bits
        return lines


def bench(inputs: Fields, outputs: Fields, body: str) -> str:
    """Verilog of module `bench`: the body drives wires named as the outputs."""
    declared = "".join(f"    wire [{bits - 1}:0] {name};\n" for name, bits in outputs.bits.items())
    every = ", ".join(reversed(outputs.bits))
    return (f"module bench(input [{inputs.width - 1}:0] in, output [{outputs.width - 1}:0] out);\n"
            f"{inputs.wires('in')}{declared}    assign out = {{{every}}};\n{body}endmodule\n")


def play(verilog: str, inputs: Fields, outputs: Fields, values: Sequence[Mapping[str, int]]) -> list[dict[str, int]]:
    """Set the inputs of module `bench` one after another, from a new machine on; returns the outputs after each."""
    # The bench runs for thousands of vectors, not for millions: what counts is the time that the build takes.
    library = ctypes.CDLL(str(build(verilog, "bench", harness=PLAYER, ports=("in", "out"), optimise=("-O0",),
                                    flags=VERILATOR_FLAGS)))
    for name in ("openlpu_input_bytes", "openlpu_output_bytes"):
        getattr(library, name).restype = ctypes.c_uint64
    library.openlpu_play.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint64]
    each, answer = library.openlpu_input_bytes(), library.openlpu_output_bytes()
    given = b"".join(inputs.pack(vector).to_bytes(each, "little") for vector in values)
    buffer = ctypes.create_string_buffer(answer * len(values))
    library.openlpu_play(given, buffer, len(values))
    said = buffer.raw
    return [outputs.unpack(int.from_bytes(said[at:at + answer], "little")) for at in range(0, len(said), answer)]
