"""docs/numerics.md, section 1, in plain Python integers: what the datapath units must compute."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import exp, isqrt

from rtl.isa import Addend, Factor1, Factor2, Function, Mask, Reduce, ScalarFunction, Source


def signed(value: int, bits: int) -> int:
    """The low bits of a number, read as two's complement."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


def rshift(x: int, s: int) -> int:
    s = min(s, 47)
    return x if s == 0 else (x + 2 ** (s - 1)) >> s


def sat(x: int, bits: int) -> int:
    return max(-(1 << bits - 1), min((1 << bits - 1) - 1, x))


def silu(i: int) -> int:
    return round(2**11 * (i / 16) / (1 + exp(-i / 16)))


def exp2(d: int) -> int:
    n = max(0, -d)
    return rshift(round(127 * 2 ** (-(n % 32) / 32)), min(n // 32, 15))


def nearest(x: Fraction) -> int:
    """Round; no table entry is a tie."""
    return (2 * x.numerator + x.denominator) // (2 * x.denominator)


def rsqrt_mantissa(i: int) -> int:
    # Twice the root of 2**36 / (i + 1/2), floored, plus one, halved and floored: rounding without a fraction.
    return min(32767, (isqrt(2**39 // (2 * i + 1)) + 1) // 2)


def recip_mantissa(i: int) -> int:
    return nearest(Fraction(2**23, 2 * i + 1))


def leading8(v: int, bits: int) -> int:
    """v shifted so that `bits` bits become 8."""
    return v >> (bits - 8) if bits >= 8 else v << (8 - bits)


def scalar(
    function: ScalarFunction, *, reduce: int = 0, bias: int = 0, adjust: int = 0, constant: int = 0,
    a: tuple[int, int] = (0, 0), b: tuple[int, int] = (0, 0),
) -> tuple[int, int]:
    """(mantissa, exponent) of one scalar operation; `reduce` is the register's 32 bits, unsigned."""
    v = max(1, min(reduce + bias, 2**32 - 1))
    n = v.bit_length()
    match function:
        case ScalarFunction.RSQRT:
            k = n + n % 2
            mantissa, exponent = rsqrt_mantissa(leading8(v, k)), 14 + k // 2 + adjust
        case ScalarFunction.RECIP:
            mantissa, exponent = recip_mantissa(leading8(v, n)), 14 + n + adjust
        case ScalarFunction.NEGATE:
            mantissa, exponent = sat(-signed(reduce, 32), 16), 0
        case ScalarFunction.BLOCK:
            mantissa, exponent = 16384, max(0, reduce.bit_length() - 7) + adjust
        case ScalarFunction.COMBINE:
            mantissa, exponent = a[0], a[1] - b[1] + adjust
        case ScalarFunction.VALUE:
            mantissa, exponent = sat(signed(reduce, 32), 16), a[1] + adjust
        case ScalarFunction.SEARCH:
            bits, place = list(f"{a[0] + 2**15:016b}"), a[1] % 16
            bits[place] = "1" if reduce + bias >= 2**16 else "0"
            bits[place + 1:place + 2] = "1" if place < 15 else ""
            mantissa = int("".join(bits), 2) - 2**15
            exponent = a[1] + adjust
        case ScalarFunction.CONST:
            mantissa, exponent = 16384, constant
    return mantissa, max(0, min(63, exponent))


@dataclass
class Pass:
    """A vector pass with its operands: one entry a lane, scalars already by lane; a position for each sequence."""

    fields: dict[str, int]
    acc: list[int]
    memory: list[int]
    params: list[int]
    mantissas: list[int]
    exponents: list[int]
    out_exponent: int
    positions: list[int]
    noise: list[int] = field(default_factory=list)
    oldest: list[int] = field(default_factory=list)  # the first position that is seen, of each sequence; none: all are


@dataclass
class Winner:
    """ARGMAX of one sequence: the largest so far, where it was, and the number of the next vector."""

    best: int = 0
    token: int = 0
    block: int = 0


@dataclass
class VectorOracle:
    """What the vector unit keeps from pass to pass: the held values, reduce registers, and each sequence's ARGMAX."""

    lanes: int
    reduces: int
    token_bits: int
    sequences: int
    held: list[int] = field(init=False)
    registers: list[int] = field(init=False)
    winners: list[Winner] = field(init=False)

    def __post_init__(self) -> None:
        self.held = [0] * self.lanes
        self.registers = [0] * self.reduces
        self.winners = [Winner() for _ in range(self.sequences)]

    @property
    def tokens(self) -> list[int]:
        """The winner of each sequence."""
        return [winner.token for winner in self.winners]

    def run(self, given: Pass) -> tuple[list[int], list[int]]:
        """f and o of a pass."""
        p = given.fields
        second = bool(p["rotate"] and p["odd"])
        table = Function(p["function"]) is not Function.IDENTITY
        results, outputs, terms, masked, sums = [], [], [], [], []
        for lane in range(self.lanes):
            exponent, mantissa = given.exponents[lane], given.mantissas[lane]
            if Source(p["source"]) is Source.ACC:
                a = sat(rshift(given.acc[lane], p["s0"] + (exponent if p["early"] else 0)), 16)
            else:
                a = given.memory[lane ^ 1 if second else lane]
            param = given.params[(lane | 1 if second else lane & ~1) if p["rotate"] else lane]
            f1 = {Factor1.ONE: 1, Factor1.UNSIGNED: param, Factor1.SIGNED: signed(param, 8)}[Factor1(p["factor1"])]
            f1 = -f1 if second and lane % 2 == 0 else f1
            b = sat(rshift(a * f1, p["s1"]), 16)
            f2 = {Factor2.ONE: 1, Factor2.SCALAR: mantissa, Factor2.MEM: given.memory[lane],
                  Factor2.SQUARE: b}[Factor2(p["factor2"])]
            late = exponent if Factor2(p["factor2"]) is Factor2.SCALAR and not p["early"] else 0
            addend = {Addend.ZERO: 0, Addend.MEM: given.memory[lane], Addend.SCALAR: mantissa,
                      Addend.NOISE: given.noise[lane] if given.noise else 0}[Addend(p["addend"])]
            if second:
                addend = self.held[lane]
            d = rshift(b * f2, p["s2"] + late) + addend
            f = {Function.IDENTITY: sat(d, 16), Function.SILU: silu(sat(d, 8)),
                 Function.EXP2: exp2(sat(d, 16))}[Function(p["function"])]
            element = p["index"] * self.lanes + lane
            unseen = bool(given.oldest) and element < given.oldest[p["sequence"]]
            hidden = {Mask.NONE: False, Mask.POSITION: unseen or element > given.positions[p["sequence"]],
                      Mask.TAIL: lane >= p["tail"]}[Mask(p["mask"])]
            hidden |= bool(p["below"]) and given.memory[lane] < mantissa
            f = 0 if hidden else f
            masked.append(hidden)
            sums.append(d)
            terms.append(0 if hidden else f if table else d)
            results.append(f)
            outputs.append(sat(rshift(f, p["s3"] + (given.out_exponent if p["out_scaled"] else 0)), 8))
        self.held = [sat(d, 16) for d in sums]
        if not p["rotate"] or second:
            self.reduce(p, results, terms, masked)
        return results, outputs

    def reduce(self, p: dict[str, int], results: list[int], terms: list[int], masked: list[bool]) -> None:
        peaks = [-32768 if hidden else f for f, hidden in zip(results, masked, strict=True)]
        target, first = p["target"], p["first"]
        kept = self.registers[target]
        match Reduce(p["reduce"]):
            case Reduce.MAX:
                self.registers[target] = max([-32768 if first else kept, *peaks])
            case Reduce.MAXABS:
                self.registers[target] = max([0, 0 if first else kept, *map(abs, results)])
            case Reduce.SUM:
                self.registers[target] = signed((0 if first else kept) + sum(terms), 32)
            case Reduce.ARGMAX:
                winner = self.winners[p["sequence"]]
                block = 0 if first else winner.block
                winner.block = block + 1
                if first or max(peaks) > winner.best:
                    winner.best = max(peaks)
                    winner.token = (block * self.lanes + peaks.index(winner.best)) % (1 << self.token_bits)
            case Reduce.NONE:
                pass
