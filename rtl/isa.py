"""The instruction set: one table a queue. Encoder, decoder, assembler, disassembler, manual and gateware all read it.

Three queues (matrix, vector, scalar) start together when a token starts and never wait for one another again. Each is a
list of words; a word spends `wait + values[wait_value]` idle cycles, then runs `repeat + values[repeat_value] + 1`
times (once a cycle, or once every `pace + 1` cycles), then the next word follows without a gap. What is not a RUN word
takes one cycle after its wait. `values` is a row of numbers that depends on the position's bucket alone
(`values[0]` is 0): with it the same program is exact at every position. A machine may work on several sequences, each
with a position and a token of its own: words whose work depends on either name one, and the bucket is that of the
furthest.

Loops: LOOP_OUTER and LOOP_INNER open a loop of `repeat + values[repeat_value] + 1` rounds; the word with the matching
`end_` bit is the last of the body. A LOOP word's address fields are strides: they are added to the loop's offsets after
each round, and the offsets are zero again outside. Which offsets an address uses is in the field's description.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property

from amaranth.lib import data
from amaranth.utils import bits_for

from rtl.config import Config, log2


class Op(enum.Enum):
    """What the sequencer does with a word. Encoding 0 is NOP, so cleared memory is a safe program."""

    NOP = 0
    RUN = 1
    LOOP_OUTER = 2
    LOOP_INNER = 3
    END = 4
    END_PROMPT = 5


class Plane(enum.Enum):
    """What a step takes of each byte of a bank's row: LOW and HIGH are four-bit weights, signed, times 16."""

    BYTES = 0
    LOW = 1
    HIGH = 2


class Source(enum.Enum):
    """Where a vector pass takes its first operand."""

    ACC = 0
    MEM = 1


class Factor1(enum.Enum):
    ONE = 0
    UNSIGNED = 1
    SIGNED = 2


class Factor2(enum.Enum):
    ONE = 0
    SCALAR = 1
    MEM = 2
    SQUARE = 3


class Addend(enum.Enum):
    ZERO = 0
    MEM = 1
    SCALAR = 2
    NOISE = 3  # the next row of the sequence's noise, only with Config.noise_rate


class Function(enum.Enum):
    IDENTITY = 0
    SILU = 1
    EXP2 = 2


class Store(enum.Enum):
    """Where the 8-bit output goes."""

    NONE = 0
    ACT = 1
    KEYS = 2
    VALUES = 3


class Mask(enum.Enum):
    NONE = 0
    POSITION = 1
    TAIL = 2
    CHOSEN = 3


class Reduce(enum.Enum):
    NONE = 0
    MAX = 1
    MAXABS = 2
    SUM = 3
    ARGMAX = 4


class ScalarFunction(enum.Enum):
    RSQRT = 0
    RECIP = 1
    NEGATE = 2
    BLOCK = 3
    COMBINE = 4
    CONST = 5
    VALUE = 6
    SEARCH = 7


@dataclass(frozen=True)
class Field:
    """One field of a word: its width for a Config, its enumeration or sign, and what it means.

    `strided`: in a LOOP word this field is a stride.
    """

    name: str
    bits: Callable[[Config], int]
    doc: str
    enum: type[enum.Enum] | None = None
    signed: bool = False
    strided: bool = False


def _index(depth: Callable[[Config], int]) -> Callable[[Config], int]:
    return lambda cfg: max(1, bits_for(depth(cfg) - 1))


def _bits(n: int) -> Callable[[Config], int]:
    return lambda cfg: n


_BANK_ROW = _index(lambda cfg: cfg.bank_rows)
_ACT_WORD = _index(lambda cfg: cfg.act_words)
_SLOT = _index(lambda cfg: cfg.slots)
_SCALAR = _index(lambda cfg: cfg.scalars)
_REDUCE = _index(lambda cfg: cfg.reduces)
_VALUE = _index(lambda cfg: cfg.values)
_VECTOR_ROW = _index(lambda cfg: cfg.vector_rows)
_PARAM_ROW = _index(lambda cfg: cfg.param_rows)
_DST = _index(lambda cfg: max(cfg.vector_rows, cfg.act_vectors, cfg.bank_rows))


def _choice(cfg: Config) -> int:
    return bits_for(cfg.choices) if cfg.choices else 0


HEADER = (
    Field("op", _bits(3), "what the sequencer does with the word", enum=Op),
    Field("wait", lambda cfg: cfg.wait_bits, "idle cycles before the word"),
    Field("wait_value", _VALUE, "dynamic value added to `wait`"),
    Field("repeat", lambda cfg: cfg.repeat_bits, "further rounds: the word runs repeat + 1 times"),
    Field("repeat_value", _VALUE, "dynamic value added to `repeat`"),
    Field("end_inner", _bits(1), "last word of the inner loop's body"),
    Field("end_outer", _bits(1), "last word of the outer loop's body"),
)


def _narrowed(queue: str, item: Field) -> Field:
    """The field of a queue, with as few bits as `Config.narrow` wants."""
    whole = item.bits
    return replace(item, bits=lambda cfg: min(whole(cfg), dict(cfg.narrow).get(f"{queue}.{item.name}", whole(cfg))))


@dataclass(frozen=True)
class Queue:
    """One instruction queue: its name, what its RUN words do, and the fields after the header."""

    name: str
    doc: str
    own: tuple[Field, ...]
    words: Callable[[Config], int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "own", tuple(_narrowed(self.name, item) for item in self.own))

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        return tuple(_narrowed(self.name, item) for item in HEADER) + self.own

    @cached_property
    def by_name(self) -> dict[str, Field]:
        return {item.name: item for item in self.fields}


MATRIX = Queue("matrix", (
    "A step reads one row of every bank and one activation word a lane group, and adds their products to an "
    "accumulator. `repeat + 1` steps (row and act advance by one each) make one output; "
    "`outer + values[outer_value] + 1` outputs follow one another, each starting `row_step` rows and `act_step` words "
    "after the start of the one before, in the next slot."), (
    # What is needed after a word's first cycle comes first, see `Config.matrix_fetch`.
    Field("row_step", _BANK_ROW, "rows from one output's start to the next's (modulo the address width)"),
    Field("act_step", _ACT_WORD, "words from one output's start to the next's (modulo the address width)"),
    Field("group_step", _ACT_WORD, "words between the operands of neighbouring lane groups"),
    Field("clear", _bits(1), "an output's first step starts from zero instead of from what the accumulator holds"),
    Field("gather", _bits(1), (
        "add the token's embedding column c = token << embed_shift: row + c div taps, act + c mod taps")),
    Field("choice", _choice, (
        "index register of the expert whose matrix it is: row + index * expert_rows; 0: none, n: the sequence's n-th")),
    Field("sequence", lambda cfg: log2(cfg.sequences), "whose token is gathered, whose index register is added"),
    Field("plane", lambda cfg: 2 * cfg.weight_planes, "the part of each byte that is the weight", enum=Plane),
    Field("outer_value", _VALUE, "dynamic value added to `outer`"),
    Field("outer", lambda cfg: cfg.repeat_bits, "further outputs"),
    Field("slot", _SLOT, (
        "accumulator of the first output, the following ones use the next, modulo slots; + inner offset"
    ), strided=True),
    Field("act", _ACT_WORD, "activation word of the first step for lane group 0; + inner offset", strided=True),
    Field("row", _BANK_ROW, "bank row of the first step; + outer and inner offset", strided=True),
), lambda cfg: cfg.matrix_words)

VECTOR = Queue("vector", (
    "A pass takes a vector of `lanes` operands through the pipeline of docs/numerics.md: select, scale, round, "
    "multiply, add, function, output. It runs `repeat + 1` times, one every `pace + 1` cycles; each `inc_` bit moves "
    "its address by one a pass."), (
    Field("pace", _bits(5), "cycles between passes, less one"),
    Field("source", _bits(1), "first operand", enum=Source),
    Field("slot", _SLOT, "accumulator read; + inner offset", strided=True),
    Field("src", _VECTOR_ROW, "vector memory row read; + inner offset", strided=True),
    Field("param", _PARAM_ROW, (
        "parameter row; + inner offset, + outer offset or (rope) position * rope_step"), strided=True),
    Field("dst", _DST, (
        "row written: vector memory, activation memory (in vectors) or bank; + inner offset, in a bank also + outer "
        "offset"), strided=True),
    Field("inc_slot", _bits(1), "next accumulator each pass"),
    Field("inc_src", _bits(1), "next row each pass"),
    Field("inc_param", _bits(1), "next parameter row each pass"),
    Field("inc_dst", _bits(1), "next destination each pass"),
    Field("rope", _bits(1), "parameters are addressed by the position, not by the outer loop"),
    Field("rotate", _bits(1), (
        "passes come in pairs: the first only makes the held value, the second reads lanes 2i and 2i+1 swapped, adds "
        "the held value and stores; a parameter row has a cosine in each lane 2i, which is the first pass's factor in "
        "both lanes, and a sine in lane 2i+1, the second's, negated in lane 2i; inc_ bits count once a pair")),
    Field("factor1", _bits(2), "first factor", enum=Factor1),
    Field("factor2", _bits(2), "second factor", enum=Factor2),
    Field("addend", _bits(2), "what is added; NOISE is the next row of the sequence's noise, see docs/numerics.md",
          enum=Addend),
    Field("function", _bits(2), "table applied", enum=Function),
    Field("early", _bits(1), "the scalar's exponent joins s0 instead of s2"),
    Field("scalar", _SCALAR, "scalar register; + inner offset", strided=True),
    Field("grouped", _bits(1), (
        "lane group g reads register scalar + g (modulo scalars) instead of all reading `scalar`")),
    Field("out_scaled", _bits(1), "the exponent of `out_scalar` joins s3"),
    Field("out_scalar", _SCALAR, "scalar register of the output shift"),
    Field("s0", _bits(5), "shift after the accumulator"),
    Field("s1", _bits(5), "shift after the first factor"),
    Field("s2", _bits(6), "shift after the second factor"),
    Field("s3", _bits(4), "shift of the 8-bit output"),
    Field("write", _bits(1), "write the 16-bit result to vector memory at dst"),
    Field("store", _bits(2), "where the 8-bit output goes", enum=Store),
    Field("chunk", lambda cfg: max(1, log2(cfg.chunks)), (
        "KEYS: which `taps` lanes of the vector are stored (lanes > taps), or which part of the bank row the vector "
        "fills")),
    Field("mask", _bits(2), (
        "POSITION: element (pass * lanes + lane) is masked when it is past the position, or before the window; "
        "TAIL: lanes from `tail` on are masked; "
        "CHOSEN: the element that the sequence's first index register names is masked"), enum=Mask),
    Field("tail", lambda cfg: log2(cfg.lanes), "first masked lane for TAIL"),
    Field("below", lambda cfg: int(cfg.top_k), (
        "lanes whose element in vector memory (at src) is less than the scalar's mantissa are masked too")),
    Field("reduce", _bits(3), "reduction over the lanes", enum=Reduce),
    Field("first", _bits(1), "the first pass of this word starts the reduction afresh"),
    Field("target", _REDUCE, (
        "reduce register; + inner offset (ARGMAX has registers of its own for each sequence)"), strided=True),
    Field("choice", _choice, "what ARGMAX writes; 0: the sequence's next token, n: its n-th index register"),
    Field("sequence", lambda cfg: log2(cfg.sequences), (
        "whose position counts for RoPE, masks and stores, whose noise is added, whose token or index ARGMAX finds, "
        "and whose CHOSEN masks")),
), lambda cfg: cfg.vector_words)

SCALAR = Queue("scalar", "One operation of the scalar unit a RUN word (repeat must be 0).", (
    Field("function", _bits(3), "operation", enum=ScalarFunction),
    Field("reduce", _REDUCE, "reduce register read; + inner offset", strided=True),
    Field("dst", _SCALAR, "scalar register written; + inner offset", strided=True),
    Field("a", _SCALAR, "COMBINE: mantissa and first exponent; VALUE: exponent; SEARCH: both"),
    Field("b", _SCALAR, "COMBINE: exponent subtracted"),
    Field("constant", _index(lambda cfg: cfg.constants), (
        "CONST: constant memory address; + inner and outer offset"), strided=True),
    Field("bias", _bits(16), "added to the reduce register for RSQRT, RECIP and SEARCH"),
    Field("adjust", _bits(7), "added to the exponent", signed=True),
), lambda cfg: cfg.scalar_words)

QUEUES = (MATRIX, VECTOR, SCALAR)


def stride_bits(cfg: Config, queue: Queue, level: str, name: str) -> int:
    """Width of a field's stride in the loops of a level, "inner" or "outer"; see `Config.narrow`."""
    whole = queue.by_name[name].bits(cfg)
    return min(whole, dict(cfg.narrow).get(f"{queue.name}.{level}_{name}", whole))


def members(cfg: Config, item: Field) -> list[enum.Enum]:
    """Members of an enumerated field that a machine has."""
    assert item.enum is not None
    needs = {Addend.NOISE: cfg.noise_rate, Mask.CHOSEN: cfg.choices, ScalarFunction.VALUE: cfg.choices,
             ScalarFunction.SEARCH: cfg.top_k, Plane.LOW: cfg.weight_planes, Plane.HIGH: cfg.weight_planes}
    return [member for member in item.enum if needs.get(member, 1)]


class EncodingError(ValueError):
    """A value that does not fit its field, an unknown field, or a word that is no instruction."""


@dataclass(frozen=True)
class Insn:
    """One word: its queue and the fields that are not zero (enumerated fields hold members)."""

    queue: Queue
    fields: Mapping[str, int | enum.Enum] = field(default_factory=dict[str, "int | enum.Enum"])

    def __getitem__(self, name: str) -> int | enum.Enum:
        item = self.queue.by_name[name]
        return self.fields.get(name, item.enum(0) if item.enum else 0)

    def number(self, name: str) -> int:
        """A field as a plain number."""
        value = self[name]
        return value.value if isinstance(value, enum.Enum) else value


@cache
def layout(cfg: Config, queue: Queue) -> data.StructLayout:
    """The word's layout for the gateware, first field in the lowest bits."""
    from amaranth.hdl import signed, unsigned
    return data.StructLayout({
        item.name: signed(item.bits(cfg)) if item.signed else unsigned(item.bits(cfg)) for item in queue.fields})


@cache
def word_bits(cfg: Config, queue: Queue) -> int:
    """Width of a word."""
    return sum(item.bits(cfg) for item in queue.fields)


def encode(cfg: Config, insn: Insn) -> int:
    """A word as an integer. Raises EncodingError where a value does not fit: nothing is ever truncated."""
    unknown = set(insn.fields) - set(insn.queue.by_name)
    if unknown:
        raise EncodingError(f"{insn.queue.name} words have no field {', '.join(sorted(unknown))}")
    word, position = 0, 0
    for item in insn.queue.fields:
        bits, value = item.bits(cfg), insn[item.name]
        if item.enum is not None:
            if not isinstance(value, item.enum):
                raise EncodingError(f"{insn.queue.name}.{item.name} must be a {item.enum.__name__}, not {value!r}")
            value = value.value
        assert isinstance(value, int)
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if item.signed else (0, (1 << bits) - 1)
        if not low <= value <= high:
            raise EncodingError(f"{insn.queue.name}.{item.name} is {value}; {cfg.name} holds {low} to {high}")
        word |= (value & (1 << bits) - 1) << position
        position += bits
    return word


def decode(cfg: Config, queue: Queue, word: int) -> Insn:
    """The word's non-zero fields. Raises EncodingError for a value that names no member, or a word too wide."""
    if not 0 <= word < 1 << word_bits(cfg, queue):
        raise EncodingError(f"{queue.name} word {word:#x} does not fit in {word_bits(cfg, queue)} bits")
    fields: dict[str, int | enum.Enum] = {}
    for item in queue.fields:
        bits = item.bits(cfg)
        value = word & (1 << bits) - 1
        word >>= bits
        if item.signed and value >> bits - 1:
            value -= 1 << bits
        if value == 0:
            continue
        try:
            fields[item.name] = item.enum(value) if item.enum else value
        except ValueError:
            raise EncodingError(f"{queue.name}.{item.name} has no member {value}") from None
    return Insn(queue, fields)


def disassemble(insn: Insn) -> str:
    """One line of assembly: the operation, then `field=value` for each field that is not zero."""
    parts = [insn["op"].name]  # type: ignore[union-attr]
    for item in insn.queue.fields:
        value = insn[item.name]
        if item.name != "op" and insn.number(item.name):
            parts.append(f"{item.name}={value.name if isinstance(value, enum.Enum) else value}")
    return " ".join(parts)


def assemble(queue: Queue, line: str) -> Insn:
    """The instruction a line of assembly stands for. Raises EncodingError naming the part that is wrong."""
    words = line.split()
    if not words or words[0] not in Op.__members__:
        raise EncodingError(f"{line!r} does not begin with one of {', '.join(Op.__members__)}")
    fields: dict[str, int | enum.Enum] = {} if words[0] == "NOP" else {"op": Op[words[0]]}
    for part in words[1:]:
        name, equals, text = part.partition("=")
        item = queue.by_name.get(name)
        if not equals or item is None or name == "op" or name in fields:
            raise EncodingError(f"{part!r} is not a new field=value of a {queue.name} word")
        try:
            fields[name] = item.enum[text] if item.enum else int(text, 0)
        except (KeyError, ValueError):
            known = f"one of {', '.join(item.enum.__members__)}" if item.enum else "a number"
            raise EncodingError(f"{name} must be {known}, not {text!r}") from None
        if insn_is_zero(fields[name]):
            del fields[name]
    return Insn(queue, fields)


def insn_is_zero(value: int | enum.Enum) -> bool:
    """Whether a field value is the default, which an Insn leaves out."""
    return (value.value if isinstance(value, enum.Enum) else value) == 0


def manual() -> str:
    """docs/isa.md: every word of every queue, with its width on each preset."""
    from rtl.config import PRESETS
    lines = ["# Instruction set", "", "Generated from `rtl/isa.py` by `lpu isa -o docs/isa.md`; do not edit.", ""]
    assert __doc__ is not None
    lines += [*__doc__.split("\n\n", 1)[1].strip().splitlines(), ""]
    names = list(PRESETS)
    for queue in QUEUES:
        lines += [f"## {queue.name}", "", queue.doc, ""]
        lines += [f"| field | {' | '.join(names)} | meaning |", f"|---|{'---|' * len(names)}---|"]
        for item in queue.fields:
            members = f" ({', '.join(f'{m.value} {m.name}' for m in item.enum)})" if item.enum else ""
            widths = " | ".join(str(item.bits(PRESETS[name])) for name in names)
            stride = "; a stride in a LOOP word" if item.strided else ""
            lines.append(f"| `{item.name}` | {widths} | {item.doc}{stride}{members} |")
        lines += [f"| **bits** | {' | '.join(str(word_bits(PRESETS[name], queue)) for name in names)} | |", ""]
    return "\n".join(lines)
