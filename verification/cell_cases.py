"""The cells that our models are tested as: each with its parameters, as Verilog and as a reference."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from verification.cell_reference import BlockRam, Multiplier, Port, Register
from verification.vectors import Fields

PORT = {"clock": 1, "enable": 1, "register_enable": 1, "write": 1, "reset": 1, "select": 3, "address": 14, "data": 36}
RAM_INPUTS = Fields({f"{name}_{side}": bits for side in "ab" for name, bits in PORT.items()})
MULTIPLIER_INPUTS = Fields({
    "a": 18, "b": 18, "signed_a": 1, "signed_b": 1, "chained": 1, "clocks": 4, "enables": 4, "resets": 4})


Step = Callable[[Mapping[str, int]], int]
"""From the inputs that were set to the output that is expected then."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One cell.

    Members
    -------
    name : of its output. bits : of that output.
    verilog : an instance that drives it; `{prefix}` stands before the name of the cell.
    start : makes a function from inputs to the expected output, that remembers.
    """

    name: str
    bits: int
    verilog: str
    start: Callable[[], Step]


def pins(pin: str, wire: str, bits: int, first: int = 0) -> str:
    """Connections of pins that are numbered one by one."""
    return "".join(f".{pin}{bit}({wire}[{first + bit}]), " for bit in range(bits))


def parameters(values: Mapping[str, object]) -> str:
    return ", ".join(f".{name}({value})" for name, value in values.items())


def ram_start(byte: int, asynchronous: bool, ports: Sequence[Mapping[str, object]], contents: list[int],
              parts: Callable[[int, int], int]) -> Callable[[], Step]:
    """A block RAM's reference. parts : makes the cell's output of the ports' outputs."""

    def start() -> Step:
        a, b = (Port(**dict(port)) for port in ports)  # type: ignore[arg-type]
        ram = BlockRam(byte=byte, asynchronous=asynchronous, ports=(a, b), contents=list(contents))

        def step(inputs: Mapping[str, int]) -> int:
            first, second = ({name: inputs[f"{name}_{side}"] for name in PORT} for side in "ab")
            for port, now in ((a, first), (b, second)):
                now["data"] &= (1 << port.width) - 1
            return parts(*ram.step((first, second)))

        return step

    return start


# ECP5 -----------------------------------------------------------------------------------------------------------------

_SHOWS = {"NORMAL": "nothing", "WRITETHROUGH": "new", "READBEFOREWRITE": "old"}


def dp16kd(name: str, widths: tuple[int, int], *, modes: tuple[str, str] = ("NORMAL", "NORMAL"),
           registers: tuple[bool, bool] = (False, False), asynchronous: bool = False, selects: tuple[int, int] = (0, 0),
           inverted: tuple[bool, bool] = (False, False), seed: int = 0) -> Case:
    """A DP16KD. A width of 36 on port A makes it a memory that A writes and B reads."""
    rng = random.Random(seed)
    contents = [rng.randrange(512) if seed else 0 for _ in range(2048)]
    pseudo = widths[0] == 36
    values: dict[str, object] = {
        "DATA_WIDTH_A": widths[0], "DATA_WIDTH_B": widths[1], "WRITEMODE_A": f'"{modes[0]}"',
        "WRITEMODE_B": f'"{modes[1]}"', "REGMODE_A": '"OUTREG"' if registers[0] else '"NOREG"',
        "REGMODE_B": '"OUTREG"' if registers[1] else '"NOREG"', "RESETMODE": '"ASYNC"' if asynchronous else '"SYNC"',
        "CSDECODE_A": f'"0b{selects[0]:03b}"', "CSDECODE_B": f'"0b{selects[1]:03b}"',
        "CLKAMUX": '"INV"' if inverted[0] else '"CLKA"', "CLKBMUX": '"INV"' if inverted[1] else '"CLKB"',
        "GSR": '"AUTO"'}
    if seed:
        for row in range(64):  # sixteen words of two bytes, 20 bits apart
            words = (contents[32 * row + 2 * word] | contents[32 * row + 2 * word + 1] << 9 for word in range(16))
            values[f"INITVAL_{row:02X}"] = f"320'h{sum(word << 20 * place for place, word in enumerate(words)):x}"
    connections = "".join(
        pins(f"DI{big}", wire, 18, first) + pins(f"AD{big}", f"address_{side}", 14)
        + pins(f"CS{big}", f"select_{side}", 3) + f".CLK{big}(clock_{side}), .CE{big}(enable_{side}), "
        f".OCE{big}(register_enable_{side}), "
        f".WE{big}({'write_' + side if not (pseudo and side == 'b') else chr(49) + chr(39) + 'b0'}), "
        f".RST{big}(reset_{side}), " + pins(f"DO{big}", name, 18, 18 * (side == "b"))
        for side, big, wire, first in (
            ("a", "A", "data_a", 0), ("b", "B", "data_a" if pseudo else "data_b", 18 if pseudo else 0)))
    verilog = f"    {{prefix}}DP16KD #({parameters(values)}) cell_{name} ({connections.rstrip(', ')});\n"

    def parts(first: int, second: int) -> int:
        if widths[1] == 36:
            return second  # low half on DOA, high half on DOB
        return (0 if pseudo else first) | second << 18

    ports = [{"width": width, "shows": _SHOWS[mode], "register": register, "inverted": invert, "blocks": True,
              "select": select}
             for width, mode, register, invert, select in zip(
                 widths, modes, registers, inverted, selects, strict=True)]
    start = ram_start(9, asynchronous, ports, contents, parts)
    if not pseudo:
        return Case(name=name, bits=36, verilog=verilog, start=start)

    def reading() -> Step:
        inner = start()
        return lambda inputs: inner({**inputs, "write_b": 0})

    return Case(name=name, bits=36, verilog=verilog, start=reading)


def mult18x18d(name: str, *, asynchronous: bool = False, **registers: tuple[int, int, int]) -> Case:
    """A MULT18X18D. registers : input_a, input_b, pipeline, output as numbers of clock, enable and reset."""
    labels = {"input_a": "INPUTA", "input_b": "INPUTB", "pipeline": "PIPELINE", "output": "OUTPUT"}
    values: dict[str, object] = {"RESETMODE": '"ASYNC"' if asynchronous else '"SYNC"'}
    for which, (clock, enable, reset) in registers.items():
        values |= {f"REG_{labels[which]}_CLK": f'"CLK{clock}"', f"REG_{labels[which]}_CE": f'"CE{enable}"',
                   f"REG_{labels[which]}_RST": f'"RST{reset}"'}
    connections = (
        pins("A", "a", 18) + pins("B", "b", 18) + pins("CLK", "clocks", 4) + pins("CE", "enables", 4)
        + pins("RST", "resets", 4) + pins("P", name, 36)
        + ".SIGNEDA(signed_a), .SIGNEDB(signed_b), .SOURCEA(chained), .SOURCEB(1'b0)")
    verilog = f"    {{prefix}}MULT18X18D #({parameters(values)}) cell_{name} ({connections});\n"

    def start() -> Step:
        made = [Register(*registers[which]) if which in registers else Register() for which in labels]
        model = Multiplier(bits=18, asynchronous=asynchronous, a=made[0], b=made[1], pipeline=made[2], output=made[3])
        return lambda inputs: model.step(dict(inputs))

    return Case(name=name, bits=36, verilog=verilog, start=start)


# Gowin ----------------------------------------------------------------------------------------------------------------

_GOWIN_SHOWS = ("nothing", "new", "old")


def gowin_ram(name: str, kind: str, widths: tuple[int, ...], *, modes: tuple[int, int] = (0, 0),
              registers: tuple[int, int] = (0, 0), asynchronous: bool = False, selects: tuple[int, int] = (0, 0),
              seed: int = 0) -> Case:
    """An SP, SPX9, SDPB, SDPX9B, DPB or DPX9B. widths : of its ports."""
    byte, rng = 9 if "X9" in kind else 8, random.Random(seed)
    contents = [rng.randrange(1 << byte) if seed else 0 for _ in range(2048)]
    values: dict[str, object] = {"RESET_MODE": '"ASYNC"' if asynchronous else '"SYNC"'}
    if seed:
        for row in range(64):
            packed = sum(contents[32 * row + place] << byte * place for place in range(32))
            values[f"INIT_RAM_{row:02X}"] = f"{32 * byte}'h{packed:x}"
    ports: list[dict[str, object]] = [
        {"width": width, "shows": _GOWIN_SHOWS[mode], "register": bool(register), "select": select}
        for width, mode, register, select in zip((*widths, *widths)[:2], modes, registers, selects, strict=True)]
    most = 4 * byte
    if kind.startswith("SP"):
        values |= {"BIT_WIDTH": widths[0], "WRITE_MODE": modes[0], "READ_MODE": registers[0],
                   "BLK_SEL": f"3'd{selects[0]}"}
        connections = (".CLK(clock_a), .CE(enable_a), .OCE(register_enable_a), .WRE(write_a), .RESET(reset_a), "
                       f".BLKSEL(select_a), .AD(address_a), .DI(data_a[{most - 1}:0]), .DO({name}[{most - 1}:0])")
    elif kind.startswith("SDP"):
        values |= {"BIT_WIDTH_0": widths[0], "BIT_WIDTH_1": widths[1], "READ_MODE": registers[1],
                   "BLK_SEL_0": f"3'd{selects[0]}", "BLK_SEL_1": f"3'd{selects[1]}"}
        connections = (".CLKA(clock_a), .CEA(enable_a), .RESETA(reset_a), .BLKSELA(select_a), .ADA(address_a), "
                       ".CLKB(clock_b), .CEB(enable_b), .OCE(register_enable_b), .RESETB(reset_b), .BLKSELB(select_b), "
                       f".ADB(address_b), .DI(data_a[{most - 1}:0]), .DO({name}[{most - 1}:0])")
    else:
        most = 2 * byte
        values |= {"BIT_WIDTH_0": widths[0], "BIT_WIDTH_1": widths[1], "READ_MODE0": registers[0],
                   "READ_MODE1": registers[1], "WRITE_MODE0": modes[0], "WRITE_MODE1": modes[1],
                   "BLK_SEL_0": f"3'd{selects[0]}", "BLK_SEL_1": f"3'd{selects[1]}"}
        connections = ", ".join(
            f".CLK{big}(clock_{side}), .CE{big}(enable_{side}), .OCE{big}(register_enable_{side}), "
            f".WRE{big}(write_{side}), .RESET{big}(reset_{side}), .BLKSEL{big}(select_{side}), "
            f".AD{big}(address_{side}), .DI{big}(data_{side}[{most - 1}:0]), "
            f".DO{big}({name}[{18 * (side == 'b')} +: {most}])"
            for side, big in (("a", "A"), ("b", "B")))
    unused = {8: 32, 9: 36}[byte] if not kind.startswith("DP") else 0
    tied = "" if kind.startswith("DP") or unused == 36 else f"    assign {name}[35:32] = 0;\n"
    if kind == "DPB":
        tied = f"    assign {name}[17:16] = 0;\n    assign {name}[35:34] = 0;\n"
    verilog = f"    {{prefix}}{kind} #({parameters(values)}) cell_{name} ({connections});\n{tied}"

    def parts(first: int, second: int) -> int:
        return first if kind.startswith("SP") else second if kind.startswith("SDP") else first | second << 18

    start = ram_start(byte, asynchronous, ports, contents, parts)

    def fixed() -> Step:
        inner = start()
        ties = ({"enable_b": 0} if kind.startswith("SP") else
                {"write_a": 1, "write_b": 0} if kind.startswith("SDP") else {})
        return lambda inputs: inner({**inputs, **ties})

    return Case(name=name, bits=36, verilog=verilog, start=fixed)


def gowin_multiplier(name: str, bits: int, *, asynchronous: bool = False, registers: Sequence[str] = ()) -> Case:
    """A MULT9X9 or MULT18X18. registers : names of those parameters that are 1."""
    values: dict[str, object] = dict.fromkeys(registers, "1'b1")
    values["MULT_RESET_MODE"] = '"ASYNC"' if asynchronous else '"SYNC"'
    top = bits - 1
    connections = (f".A(a[{top}:0]), .B(b[{top}:0]), .SIA({bits}'b0), .SIB({bits}'b0), .ASIGN(signed_a), "
                   ".BSIGN(signed_b), .ASEL(chained), .BSEL(1'b0), .CE(enables[0]), .CLK(clocks[0]), "
                   ".RESET(resets[0]), "
                   f".DOUT({name})")
    verilog = f"    {{prefix}}MULT{bits}X{bits} #({parameters(values)}) cell_{name} ({connections});\n"

    def start() -> Step:
        a, b, sign_a, sign_b, pipe, out = (
            Register(0) if label in registers else Register()
            for label in ("AREG", "BREG", "ASIGN_REG", "BSIGN_REG", "PIPE_REG", "OUT_REG"))
        model = Multiplier(bits=bits, asynchronous=asynchronous, a=a, b=b, pipeline=pipe, output=out,
                           signs=(sign_a, sign_b))
        cut = (1 << bits) - 1
        return lambda inputs: model.step({**inputs, "a": inputs["a"] & cut, "b": inputs["b"] & cut})

    return Case(name=name, bits=2 * bits, verilog=verilog, start=start)
