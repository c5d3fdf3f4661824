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
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

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
