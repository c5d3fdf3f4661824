"""Noise for sampling: each pass that asks for it gets a row of Gumbel-distributed numbers, times the temperature.

The token with the largest logit + T * g, each with a g of its own, is drawn with the probabilities of
softmax(logit / T) (E. J. Gumbel, Statistical Theory of Extreme Values, 1954); so ARGMAX samples, and at T = 0 it is
what it was. Rows are made ahead of their use and kept, so that passes follow one another as without noise:

```
seed -> [state] -> words -> [zeros, part] -> [tables] -> [sum] -> [* T] -> [rounded] -> rows -> [row] -> vector unit
```
docs/numerics.md has every rounding. A token's numbers follow from the sequence's seed and the token's position alone:
a text does not depend on what else the machine does, or on how many lanes it has. Two generators make it so. One takes
a step a token, S. Vigna's 64-bit xorshift with the shifts 12, 25 and 27 (An experimental exploration of Marsaglia's
xorshift generators, scrambled, ACM Transactions on Mathematical Software 42, 2016). Where it stands the other begins,
G. Marsaglia's with 13, 7 and 17 (Xorshift RNGs, Journal of Statistical Software 8, 2003, number 14), and each of its
states makes two numbers.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.arithmetic import leading_place, node, partial_products, register, round_saturate, shift_doubled
from rtl.config import Config
from rtl.contents import EMPTY, Contents
from rtl.issue_noise import noise_step_layout
from rtl.ports import NEVER_COLLIDES, each_sequence, row_layout
from rtl.protocol import SEED_WORDS, Space, register_names, register_words
from rtl.timing import NOISE_ROWS
from rtl.vector_tables import look_up

STATE_BITS, WORD_BITS = 64, 32
PART_BITS = 6  # of a word, the lowest; the others are counted
ZEROS_MOST = WORD_BITS - PART_BITS
NEAR_BITS = 2  # numbers of zeros with entries of their own; with more the curve only moves
FRACTION_BITS = 10  # of a table entry, in nats
OFFSET = 4  # nats, subtracted from every number: which is the largest does not change, and 16 bits hold higher ones
ENTRY_BITS = 15
MANTISSA_BITS, SHIFT_BITS = 8, 4  # of the temperature


def gumbel(zeros: int, part: int) -> Decimal:
    """The number in the middle of those that a count and a part stand for: 1 - u = 2**-(zeros + 1) * (1 + part)."""
    rest = (1 + (Decimal(part) + Decimal("0.5")) / 2**PART_BITS) / 2 ** (zeros + 1)
    return -(-(1 - rest).ln()).ln()


def near_entry(zeros: int, part: int) -> int:
    """A number for fewer than 2**NEAR_BITS zeros, without the offset."""
    return round(2**FRACTION_BITS * (gumbel(zeros, part) - OFFSET))


def far_entry(more: int) -> int:
    """What `more` zeros than 2**NEAR_BITS - 1 add to the number, on average over the parts."""
    last = (1 << NEAR_BITS) - 1
    gaps = [gumbel(last + more, part) - gumbel(last, part) for part in range(1 << PART_BITS)]
    return round(2**FRACTION_BITS * sum(gaps) / len(gaps))


def least_noise() -> int:
    """The smallest number that there is, as an entry."""
    return near_entry(0, (1 << PART_BITS) - 1)


NUMBER_SHIFTS, TOKEN_SHIFTS = (13, -7, 17), (-12, 25, -27)
"""To the left, in their order; of the two generators."""


def following(m: Module, state: Value, name: str, shifts: tuple[int, ...] = NUMBER_SHIFTS) -> Value:
    """The state after this one."""
    for number, shift in enumerate(shifts):
        moved = state << shift if shift > 0 else state >> -shift
        state = node(m, (state ^ moved)[:STATE_BITS], f"{name}_{number}")
    return state


class Noise(wiring.Component):
    """A generator and its rows for each sequence.

    Parameters
    ----------
    cfg : uses lanes, sequences, noise_rate.
    contents : uses REGISTER.

    Members
    -------
    steps : In(sequences, noise_step_layout). What is made and taken in this cycle, see rtl/issue_noise.py.
    row : Out(lanes, int16). The row that was taken in the cycle before.
    go : In(1). Cycle 0 of a token: its generators begin. restart : In(sequences). The next token is at position 0;
        between tokens.
    load : In(address, data, en). rtl.protocol.register_names; a seed counts from the sequence's next restart on, the
        temperature from the next token on.

    Latency
    -------
    NOISE_STAGES steps from a state to what is made of it.

    Reset
    -----
    As after a restart, with the registers of `contents`; rows are made with the first token.
    """

    def __init__(self, cfg: Config, contents: Contents = EMPTY) -> None:
        self.cfg, self.contents = cfg, contents
        super().__init__({
            "steps": In(each_sequence(noise_step_layout(cfg), cfg)), "row": Out(row_layout(16, cfg.lanes)),
            "go": In(1), "restart": In(cfg.sequences),
            "load": In(wiring.Signature({
                "address": Out((register_words(cfg) - 1).bit_length()), "data": Out(16), "en": Out(1)}))})

    def elaborate(self, platform) -> Module:
        m, cfg = Module(), self.cfg
        names = register_names(cfg)
        start = [*self.contents.of(Space.REGISTER), *[0] * len(names)]

        def loaded(name: str, bits: int = 16) -> Signal:
            address = names.index(name)
            held = Signal(bits, name=name, init=start[address])
            with m.If(self.load.en & (self.load.address == address)):
                m.d.sync += held.eq(self.load.data)
            return held

        temperature = loaded("temperature", MANTISSA_BITS + SHIFT_BITS)
        found: list[Value] = []
        for number in range(cfg.sequences):
            words = [loaded(f"seed_{number}_{word}") for word in range(SEED_WORDS)]
            begins = Signal(STATE_BITS, name=f"begins_{number}", init=sum(
                word.init << 16 * low for low, word in enumerate(words)))
            with m.If(self.go):
                m.d.sync += begins.eq(following(m, begins, f"token_{number}", TOKEN_SHIFTS))
            with m.If(self.restart[number]):
                m.d.sync += begins.eq(Cat(words))
            step = self.steps[number]
            row = self.rows(m, number, step, self.numbers(m, number, step, begins, temperature))
            found.append(row & step.take.replicate(len(row)))
        while len(found) > 1:
            found = [a | b for a, b in zip(found[::2], found[1::2], strict=True)]
        m.d.sync += Cat(self.row).eq(found[0])
        return m

    def numbers(self, m: Module, which: int, step, begins: Value, temperature: Value) -> Value:
        """The noise_rate numbers that a sequence's generator has made. begins: its first state in a token."""
        rate = self.cfg.noise_rate
        state, upper = Signal(STATE_BITS, name=f"state_{which}"), Signal(name=f"upper_{which}")
        states: list[Value] = [state]
        while len(states) < (rate + 1) // 2:
            states.append(following(m, states[-1], f"state_{which}_{len(states)}"))
        after = following(m, states[-1], f"after_{which}")
        words = [half for one in states for half in (one[:WORD_BITS], one[WORD_BITS:])]
        if rate == 1:  # the halves take turns
            words = [Mux(upper, words[1], words[0])]
        with m.If(step.advance):
            m.d.sync += upper.eq(~upper)
            with m.If(upper | (rate > 1)):
                m.d.sync += state.eq(after)
        with m.If(self.go):
            m.d.sync += [state.eq(begins), upper.eq(0)]
        return Cat(self.number(m, word, temperature, step.advance, f"{which}_{place}")
                   for place, word in enumerate(words))

    def rows(self, m: Module, number: int, step, made: Value) -> Value:
        """The row that is taken. Each part is a memory of its own, which is written at once."""
        row = []
        for part in range(self.cfg.noise_refill):
            m.submodules[f"rows_{number}_{part}"] = rows = Memory(
                shape=unsigned(len(made)), depth=NOISE_ROWS, init=[], attrs=NEVER_COLLIDES)
            writer, reader = rows.write_port(), rows.read_port(domain="comb")
            m.d.comb += [
                writer.addr.eq(step.row), writer.data.eq(made), writer.en.eq(step.make[part]),
                reader.addr.eq(step.taken)]
            row.append(reader.data)
        return Cat(row)

    def number(self, m: Module, word: Value, temperature: Value, enable: Value, name: str) -> Value:
        """A number from a word of random bits, a register for each of NOISE_STAGES; they move with the enable."""
        def held(value: Value, what: str) -> Any:
            return register(m, value, f"{what}_{name}", enable=enable)

        # A one below the bits that are counted: at most ZEROS_MOST zeros. The highest place is 31.
        counted = Cat(Const(1 << PART_BITS - 1, PART_BITS), word[PART_BITS:])
        zeros = held(~node(m, leading_place(m, counted), f"place_{name}"), "zeros")
        part = held(word[:PART_BITS], "part")

        last = (1 << NEAR_BITS) - 1
        is_far = node(m, zeros[NEAR_BITS:].any(), f"is_far_{name}")
        near = look_up(m, f"near_{name}", ENTRY_BITS, [
            near_entry(count, low) % (1 << ENTRY_BITS) for count in range(last + 1) for low in range(1 << PART_BITS)
        ], Cat(part, Mux(is_far, last, zeros[:NEAR_BITS])), in_luts=True)
        far = look_up(m, f"far_{name}", ENTRY_BITS, [
            far_entry(max(0, count - last)) for count in range(ZEROS_MOST + 1)], zeros, in_luts=True)
        near, far = held(near, "near"), held(far, "far")
        entry = held((near + far)[:ENTRY_BITS].as_signed(), "entry")

        mantissa, shift = temperature[:MANTISSA_BITS], temperature[MANTISSA_BITS:]
        low, high = _halves(partial_products(entry, Cat(mantissa, Const(0, 2))))
        product = held((held(low, "low") + held(high, "high"))[:ENTRY_BITS + MANTISSA_BITS].as_signed(), "product")
        return held(round_saturate(m, held(shift_doubled(m, product, shift), "shifted"), 16), "made")


def _halves(terms: list[Value]) -> tuple[Value, Value]:
    """Two sums of which the whole one is made."""
    half = len(terms) // 2
    return sum(terms[1:half], terms[0]), sum(terms[half + 1:], terms[half])
