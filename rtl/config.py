"""Config: every size of the machine, and the presets. The only place where a size is decided."""

from __future__ import annotations

from dataclasses import dataclass, replace

VECTOR_STEPS = (
    "shift", "select", "scale", "align", "round", "multiply", "settle", "add", "clamp", "look_up", "function", "narrow",
    "output")
"""The vector pipeline's steps, in order. `Config.vector_cuts` says after which of them there is a register."""

USUAL_CUTS = ("select", "scale", "round", "multiply", "add", "function", "output")
"""Without the registers between a shift and its rounding, which are for the highest clocks."""

FAST_CUTS = tuple(step for step in VECTOR_STEPS if step != "look_up")
"""For the highest clocks. Tables and the choice among their results fit into one cycle."""

LUT_MEMORIES = ("memory", "matrix_program", "vector_program", "scalar_program")
"""Memories that can be LUT RAM instead of block RAM: vector memory and the queues' programs."""


SMALL_SCALAR_CYCLES = 4
"""Cycles for which a small scalar unit needs an operation's word to stand still after its issue."""


class ConfigError(ValueError):
    """A Config whose sizes cannot be built; the message names the field and what would be right."""


def log2(n: int) -> int:
    """Exact logarithm of a power of two."""
    return n.bit_length() - 1


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of one machine.

    Parameters
    ----------
    lanes, taps: matrix unit of lanes x taps int8 multipliers; powers of two, at least 2. One SRAM bank a lane,
        one row of a bank is `taps` bytes. The vector unit has `lanes` lanes.
    groups: lane groups of the matrix unit, each with an activation operand of its own (A.V of several heads at once).
    bank_rows: rows of each bank. single_port: a bank cannot be read and written in one cycle.
    bank_register: an output register behind each bank (block RAM is slow from clock to output).
    ecc: rows of the banks are words of an error-correcting code, see rtl/ecc.py and rtl/ecc_bank.py.
    weight_planes: a bank's bytes can hold two matrices of four-bit weights, see rtl.isa.Plane.
    tile_lanes, tile_taps: the mesh has a pipeline register every so many lanes and taps.
    slots: accumulators a lane. acc_bits: their width.
    vector_rows: vector memory, rows of `lanes` int16. act_rows: activation memory, rows of `act_width` int8.
    param_rows: parameter memory, rows of `lanes` bytes. constants: constant memory of the scalar unit, bytes.
    scalars, reduces: scalar registers and reduce registers. small_scalar: the scalar unit of
        rtl/small_scalar.py, with less logic and longer paths; its registers are memories with a read port each for it
        and for a serial vector unit, and an operation takes all the cycles that `scalar_fetch` has.
    matrix_words, vector_words, scalar_words: program memory of each queue.
    values: dynamic values (entry 0 is always zero) a position bucket supplies; value_bits: their width.
        matrix_fetch, scalar_fetch: parts in which a small sequencer reads a word of that queue. Every word takes at
        least as many cycles after its wait; of a matrix word what is needed after its first cycle is in the first part.
    linear_values: they are not in a table: number n is the bucket's number times 2 ** (n - 1).
    small_control: the host port and the sequencers of rtl/small_host.py and rtl/small_sequencer.py, with less logic and
        longer paths; the host moves a byte at a time.
    cycle_bits: width of the counter of a token's cycles.
    sequences: independent texts that the machine can work on in turn, each with a position and a token of its own.
    experts: feed-forward networks of a layer among which it can choose. choices: how many of them for a token: index
        registers of each sequence. Both 0: it cannot choose.
    position_bits, token_bits: width of a position and of a token number.
    wait_bits, repeat_bits: width of an instruction's wait and repeat immediates.
    narrow: fields of instruction words that have fewer bits than rtl/isa.py gives them: ("queue.field", bits); also
        registers of the control unit: ("register.name", bits), and with small_control the loops' strides:
        ("queue.inner_field", bits) and ("queue.outer_field", bits).
    vector_cuts: the vector pipeline has a register after each of these steps; "add" is always among them.
    acc_register: accumulators that the vector unit reads go through a register, so they are read a cycle earlier.
    act_register: activations have a register more behind their memory, on their way to all lanes; rows of the banks
        wait for them. (The corrector of `ecc` takes that cycle anyway.)
    reduce_levels: levels of the reduction tree between two registers; with 1 there is a register before it, too.
    spread: what has a long way has cycles for it: steps and passes on their way to the units, what is written into
        the banks, and dynamic values. Exponents of scalar registers have a copy in each lane.
    scalar_register: the scalar unit has a register between finding an operand's length and shifting by it.
    direct_tables: SILU's and EXP2's tables have all 256 results and nothing to compute behind them: larger and faster.
    logic_products: multipliers of the mesh that are made of adders, because the FPGA has too few others; a lane's last
        taps first.
    paired_products: two lanes share each multiplier of the mesh, see rtl/paired_mesh.py: more logic, half the DSPs.
    lut_memories: which of LUT_MEMORIES are LUT RAM where the FPGA's family has it.
    serial_vector: one lane does the vector unit's work, lane after lane; a pass takes `beats` cycles.
    noise_rate: numbers a cycle that each sequence's noise generator makes for sampling, see rtl/noise.py; 0: the
        machine has none, and its tokens are always the likeliest ones.
    top_k: passes can hide lanes below a threshold, and the scalar unit can search for one: so a program draws from the
        likeliest tokens alone.
    windows: POSITION masks also hide what is too far back, where a register says how far a token sees.
    external_banks: banks are instances of the Verilog module `openlpu_ram` (very deep banks, whose initial contents
        would make the Verilog hundreds of megabytes).
    """

    name: str
    lanes: int
    taps: int
    groups: int = 1
    bank_rows: int
    single_port: bool = False
    bank_register: bool = True
    ecc: bool = False
    weight_planes: bool = False
    tile_lanes: int
    tile_taps: int
    slots: int = 4
    acc_bits: int = 24
    vector_rows: int
    act_rows: int
    param_rows: int
    constants: int = 64
    scalars: int = 16
    small_scalar: bool = False
    reduces: int = 16
    matrix_words: int = 256
    vector_words: int = 512
    scalar_words: int = 256
    values: int = 16
    value_bits: int = 12
    linear_values: bool = False
    small_control: bool = False
    matrix_fetch: int = 1
    scalar_fetch: int = 1
    cycle_bits: int = 32
    sequences: int = 1
    experts: int = 0
    choices: int = 0
    position_bits: int
    token_bits: int = 10
    wait_bits: int = 10
    repeat_bits: int = 10
    narrow: tuple[tuple[str, int], ...] = ()
    vector_cuts: tuple[str, ...] = USUAL_CUTS
    acc_register: bool = False
    act_register: bool = False
    reduce_levels: int = 2
    spread: bool = False
    scalar_register: bool = False
    direct_tables: bool = False
    logic_products: int = 0
    paired_products: bool = False
    lut_memories: tuple[str, ...] = ()
    serial_vector: bool = False
    noise_rate: int = 0
    top_k: bool = False
    windows: bool = False
    external_banks: bool = False

    def __post_init__(self) -> None:
        def need(condition: bool, text: str) -> None:
            if not condition:
                raise ConfigError(f"config {self.name!r}: {text}")

        for field in ("lanes", "taps", "groups", "slots", "scalars", "reduces", "values", "tile_lanes", "tile_taps",
                      "sequences"):
            value = getattr(self, field)
            need(value >= 1 and value & (value - 1) == 0, f"{field} is {value}; it must be a power of two")
        need(self.lanes >= 2 and self.taps >= 2, "lanes and taps must be at least 2")
        need(self.groups <= 2, f"groups is {self.groups}; the operands of more than 2 groups are no affine sequence")
        need(self.groups <= self.lanes // 2, f"groups is {self.groups}; a group needs two lanes")
        need(self.tile_lanes <= self.lanes and self.tile_taps <= self.taps, "a tile cannot be larger than the mesh")
        need(self.sequences <= 4, f"sequences is {self.sequences}; the host's requests have room for 4")
        need(self.choices <= 2, f"choices is {self.choices}; a mask hides one expert, so there are 2 at most")
        need(bool(self.experts) == bool(self.choices), "experts and choices need each other")
        need(not self.experts or (self.experts >= 2 and self.experts & (self.experts - 1) == 0
                                  and self.experts <= 1 << self.token_bits),
             f"experts is {self.experts}; it must be a power of two, and ARGMAX counts to {1 << self.token_bits}")
        need(not self.experts or not (self.serial_vector or self.small_control),
             "serial_vector and small_control have no index registers")
        need(not self.ecc or not self.single_port,
             "ecc reads a row before it writes a part of it, and a single_port has no cycle for both")
        need(self.slots >= 2 and self.values >= 2, "slots and values must be at least 2")
        need(18 <= self.acc_bits <= 32, f"acc_bits is {self.acc_bits}; it must be 18 to 32")
        need(set(self.vector_cuts) <= set(VECTOR_STEPS), f"vector_cuts must be among {', '.join(VECTOR_STEPS)}")
        need(self.small_scalar == self.serial_vector, "small_scalar and serial_vector need each other")
        need(not self.small_scalar or (self.scalar_fetch == 4 and not self.scalar_register and self.constants <= 64),
             "small_scalar needs scalar_fetch 4 and at most 64 constants, and has no scalar_register")
        need(not self.serial_vector or self.groups == 1, "a serial vector unit serves one lane group")
        around = set(self.vector_cuts) - {"select", "scale", "round", "multiply", "add"}
        need(not self.serial_vector or around == {"clamp", "function", "narrow"},
             "vector_cuts of a serial vector unit have 'clamp', 'function', 'narrow', and none of 'shift', 'align', "
             "'settle', 'look_up', 'output'")
        need(not self.serial_vector or (self.acc_register and not self.spread and not self.direct_tables),
             "a serial vector unit takes all accumulators at once (acc_register), without spread and direct_tables")
        need(self.small_control == self.linear_values, "small_control and linear_values need each other")
        need(not self.small_control or not self.lut_memories, "small_control has no lut_memories")
        need(self.matrix_fetch in (1, 2) and self.scalar_fetch in (1, 4),
             "matrix_fetch must be 1 or 2, scalar_fetch 1 or 4")
        need(self.small_control or self.matrix_fetch == self.scalar_fetch == 1,
             "matrix_fetch and scalar_fetch need small_control")
        need(not self.linear_values or (self.buckets - 1) << self.values - 2 < 1 << self.value_bits,
             f"value_bits is {self.value_bits}; {self.values} linear values need more")
        need(self.noise_rate in (0, 1, 2, 4, 8) and self.noise_rate <= self.lanes,
             f"noise_rate is {self.noise_rate}; it must be 0, 1, 2, 4 or 8, and at most lanes")
        need(not self.noise_rate or not (self.serial_vector or self.small_control),
             "a serial vector unit takes no noise, and small_control loads no seeds: noise_rate must be 0")
        need(not self.top_k or self.noise_rate > 0, "top_k is for machines that draw tokens: it needs noise_rate")
        need("add" in self.vector_cuts, "vector_cuts must contain 'add': the held value lives in that register")
        need(self.reduce_levels >= 1, "reduce_levels must be at least 1")
        need(0 <= self.logic_products <= self.lanes * self.taps, "logic_products must be 0 to lanes * taps")
        need(not self.paired_products or min(self.tile_lanes, self.group_lanes) >= 2,
             "paired_products need tiles and groups of two lanes")
        need(set(self.lut_memories) <= set(LUT_MEMORIES), f"lut_memories must be among {', '.join(LUT_MEMORIES)}")
        for field in ("bank_rows", "vector_rows", "act_rows", "param_rows", "constants", "matrix_words", "vector_words",
                      "scalar_words", "position_bits", "token_bits", "wait_bits", "repeat_bits", "value_bits"):
            need(getattr(self, field) >= 2, f"{field} must be at least 2")

    # Derived sizes, all in one place.
    @property
    def act_width(self) -> int:
        """Bytes in a row of activation memory: wide enough for a vector write and for a matrix read."""
        return max(self.lanes, self.taps)

    @property
    def act_words(self) -> int:
        """Words of `taps` bytes in activation memory: what the matrix unit addresses."""
        return self.act_rows * self.act_width // self.taps

    @property
    def act_vectors(self) -> int:
        """Vectors of `lanes` bytes in activation memory: what the vector unit addresses."""
        return self.act_rows * self.act_width // self.lanes

    @property
    def bucket_positions(self) -> int:
        """Positions that share one row of dynamic values: attention works in steps of this many. No word of the matrix
        queue then has fewer steps than cycles in any bucket."""
        return max(self.lanes, self.taps) * self.matrix_fetch

    @property
    def buckets(self) -> int:
        return max(1, (1 << self.position_bits) // self.bucket_positions)

    @property
    def chunks(self) -> int:
        """K-cache stores a vector needs when lanes > taps; places a vector can have in a bank row otherwise."""
        return max(self.lanes // self.taps, self.taps // self.lanes)

    def fetch(self, queue: str) -> int:
        """Cycles that each word of a queue takes at least after its wait."""
        scalar = self.scalar_fetch + SMALL_SCALAR_CYCLES if self.small_scalar else self.scalar_fetch
        return {"matrix": self.matrix_fetch, "vector": 1, "scalar": scalar}[queue]

    def parts(self, queue: str) -> int:
        """Parts in which a queue's words are read."""
        return {"matrix": self.matrix_fetch, "vector": 1, "scalar": self.scalar_fetch}[queue]

    def linear_table(self) -> list[list[int]]:
        """The dynamic values of each bucket, with `linear_values`."""
        return [[0, *(bucket << number for number in range(self.values - 1))] for bucket in range(self.buckets)]

    @property
    def beats(self) -> int:
        """Cycles that a pass occupies the vector unit."""
        return self.lanes if self.serial_vector else 1

    @property
    def noise_refill(self) -> int:
        """Cycles in which a row of noise is made."""
        return self.lanes // self.noise_rate if self.noise_rate else 0

    @property
    def shared_port(self) -> bool:
        """Whether the matrix unit cannot read the banks in the cycle in which a store meets them."""
        return self.single_port or self.ecc

    @property
    def peak_macs(self) -> int:
        """Multiply-accumulates a cycle."""
        return self.lanes * self.taps

    @property
    def group_lanes(self) -> int:
        return self.lanes // self.groups

    @property
    def bank_bytes(self) -> int:
        return self.lanes * self.taps * self.bank_rows


_PRESETS = (
    Config(name="tiny", lanes=4, taps=4, groups=2, bank_rows=2048, weight_planes=True, tile_lanes=1, tile_taps=1,
           acc_bits=22, slots=4, vector_rows=512, act_rows=512, param_rows=1024, scalars=32, reduces=32, sequences=2,
           experts=8, choices=2, position_bits=6, token_bits=8, noise_rate=1, top_k=True, windows=True),
    Config(name="icebreaker", lanes=2, taps=4, bank_rows=16384, single_port=True, bank_register=False,
           weight_planes=True, tile_lanes=2, tile_taps=4, slots=2, acc_bits=23, vector_rows=256, act_rows=256,
           param_rows=1536, constants=32, reduces=8, values=4, value_bits=7, linear_values=True, position_bits=7,
           token_bits=9, matrix_words=128, vector_words=256, scalar_words=64,
           narrow=(("matrix.wait", 5), ("matrix.repeat", 6), ("matrix.outer", 8), ("matrix.row_step", 5),
                   ("matrix.act_step", 1), ("matrix.group_step", 0), ("vector.wait", 5), ("vector.repeat", 8),
                   ("vector.pace", 4), ("vector.grouped", 0), ("scalar.repeat", 4), ("scalar.bias", 8),
                   ("scalar.adjust", 6), ("register.embed_shift", 3), ("matrix.inner_row", 6),
                   ("matrix.inner_act", 1), ("matrix.outer_row", 12), ("vector.inner_src", 1),
                   ("vector.inner_param", 1), ("vector.inner_dst", 6), ("vector.inner_scalar", 0),
                   ("vector.inner_target", 0), ("vector.outer_param", 8), ("vector.outer_dst", 12),
                   ("scalar.outer_constant", 1)),
           cycle_bits=20,
           vector_cuts=("select", "scale", "round", "multiply", "add", "clamp", "function", "narrow"),
           acc_register=True, small_control=True, matrix_fetch=2, scalar_fetch=4, serial_vector=True,
           small_scalar=True),
    # 44 of the GW2AR-18's 46 block RAMs: 32 of banks, 2 each of the other memories, 4 of the vector program (512 deep
    # anyway), 2 of tables; the short programs are in LUTs. Its LUTs would not hold 8 x 8.
    Config(name="tangnano20k", lanes=4, taps=8, bank_rows=2048, weight_planes=True, tile_lanes=4, tile_taps=8, slots=8,
           vector_rows=256, act_rows=256, param_rows=1024, constants=32, position_bits=8, token_bits=9,
           matrix_words=64, scalar_words=64, wait_bits=8, repeat_bits=8,
           lut_memories=("matrix_program", "scalar_program"), noise_rate=2, top_k=True),
    Config(name="ulx3s", lanes=16, taps=8, groups=2, bank_rows=3072, tile_lanes=16, tile_taps=4,
           vector_rows=192, act_rows=512, param_rows=512, scalars=64, reduces=32, values=32, sequences=2,
           experts=8, choices=2, position_bits=8, token_bits=9, matrix_words=96, vector_words=192, scalar_words=96,
           vector_cuts=FAST_CUTS, acc_register=True, reduce_levels=1, spread=True, scalar_register=True,
           direct_tables=True, logic_products=16, lut_memories=LUT_MEMORIES, noise_rate=4, top_k=True, windows=True),
    # For the highest clock: one text, and nothing that a dense model does without, so that wires are short.
    Config(name="ulx3s-fast", lanes=16, taps=8, groups=2, bank_rows=3072, tile_lanes=16, tile_taps=4,
           vector_rows=192, act_rows=512, param_rows=512, scalars=32, reduces=16, values=32, position_bits=8,
           token_bits=9, matrix_words=64, vector_words=128, scalar_words=64,
           vector_cuts=FAST_CUTS, acc_register=True, act_register=True, reduce_levels=1, spread=True,
           scalar_register=True, direct_tables=True, logic_products=16, lut_memories=LUT_MEMORIES),
    Config(name="large", lanes=16, taps=16, groups=2, bank_rows=131072, weight_planes=True, tile_lanes=8, tile_taps=8,
           acc_bits=32, slots=8, vector_rows=4096, act_rows=4096, param_rows=16384, constants=2048, scalars=64,
           reduces=64,
           vector_words=1024, values=32, sequences=2, experts=64, choices=2, position_bits=10,
           token_bits=16, wait_bits=16, repeat_bits=16, value_bits=16, external_banks=True, noise_rate=8,
           top_k=True, windows=True),
)

PRESETS: dict[str, Config] = {config.name: config for config in _PRESETS}


WITH_ECC = "+ecc"
"""Behind the name of a preset: the same machine with `Config.ecc`."""


def preset(name: str) -> Config:
    """The preset of that name, or with WITH_ECC behind it. Raises ConfigError naming the known ones."""
    plain = name.removesuffix(WITH_ECC)
    if plain not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}; known presets: {', '.join(PRESETS)}, and each with {WITH_ECC}")
    return PRESETS[plain] if plain == name else replace(PRESETS[plain], name=name, ecc=True)
