"""Layout: where everything lies in the machine's memories.

Regions follow one another in each memory (`Memory.take`); nothing is freed. The layers' weights and caches lie
`layer_rows` apart, so that one program serves them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from compiler.geometry import Geometry, Index, ceil_div, pad_to
from compiler.quantised import QuantisedModel
from rtl.config import Config
from rtl.isa import Plane


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """One matrix in the banks: `blocks` outputs of `lanes` channels, `steps` rows each, from row `row` of the bank.

    Rows and parameter rows of a layer's matrix are those of the first layer.
    """

    name: str
    outputs: Index  # (blocks * lanes,) output channel or -1
    inputs: Index  # (steps * taps,) input channel or -1
    row: int
    param: int  # parameter row of the first block
    row_pitch: int  # rows from one block to the next
    blocks: int
    steps: int
    plane: Plane = Plane.BYTES


@dataclass(frozen=True, kw_only=True)
class Region:
    """A named piece of a memory, in that memory's own units; of a bank's bytes one half with a `plane`."""

    name: str
    start: int
    size: int
    plane: Plane = Plane.BYTES


@dataclass
class Memory:
    """Bump allocation in one memory; `most` tells how much was asked for, fitting or not."""

    name: str
    depth: int
    regions: list[Region] = field(default_factory=list[Region])
    used: int = 0
    most: int = 0

    def take(self, name: str, size: int) -> int:
        self.regions.append(Region(name=name, start=self.used, size=size))
        self.used += size
        self.most = max(self.most, self.used)
        return self.used - size

    def take_halves(self, sizes: Mapping[str, int]) -> dict[str, tuple[int, Plane]]:
        """Start and plane of pieces that need half of each byte: the largest first, each where less is taken so far."""
        ends = dict.fromkeys((Plane.LOW, Plane.HIGH), self.used)
        found: dict[str, tuple[int, Plane]] = {}
        for name in sorted(sizes, key=lambda name: -sizes[name]):
            plane = min(ends, key=lambda plane: ends[plane])
            found[name] = ends[plane], plane
            self.regions.append(Region(name=name, start=ends[plane], size=sizes[name], plane=plane))
            ends[plane] += sizes[name]
        self.used = max(ends.values())
        self.most = max(self.most, self.used)
        return found


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Addresses of everything.

    Bank rows and parameter rows of a layer are the first layer's; the next layers' are `layer_rows` and `layer_params`
    further. Addresses that each sequence has for itself are the first one's; `of` gives another's.
    """

    geometry: Geometry
    sequences: int  # that the program works on in turn
    sequence: int = 0  # whose addresses these are
    pitch: dict[str, int]  # of the private addresses, by name: from one sequence's to the next one's
    x: int  # vector row of x, and activation vector of x8
    scalars: int  # first scalar register
    reduces: int  # first reduce register
    matrices: dict[str, Matrix]  # wq wk wv wo gate up down0..; classifier; bias q, k and v where there are such
    bank: Memory
    param: Memory
    vector: Memory
    act: Memory  # in vectors of `lanes` bytes
    constant: Memory
    layer_rows: int
    layer_params: int
    key_row: int  # head h at + h * key_rows
    value_row: int  # block b at + b * value_rows
    embed_row: int
    embed_param: int
    attention_param: int
    rope_param: int
    hidden_chunks: tuple[tuple[int, int], ...]  # (first, end) in hidden blocks
    wave: int  # KV heads whose queries are in flight together
    wide: int  # vector rows of the wide q, then k, then v's biases where there are such
    silu: int
    hidden: int
    scores: int  # head i of a wave at + i * score_rows
    score_rows: int
    q_act: int
    probs_act: int  # head i of a wave at + i * score_rows
    attention_act: int
    hidden_act: int
    onehot_act: int
    head_passes: dict[str, tuple[tuple[int, int], ...]]  # of wq and wk where heads are normalised, see `head_blocks`
    head_params: dict[str, int]  # parameter row of the first of them
    router: int = 0  # vector row of the router's logits, then of the experts' shares
    experts: int = 0
    expert_rows: int = 0  # from an expert's matrices to the next one's; those in `matrices` are the first one's
    route: tuple[int, int] = (0, 0)  # scalar and reduce registers of the router
    top_k: int = 0  # of the likeliest tokens, from which one is drawn; 0: of all
    logits: int = 0  # vector row of the logits, where that needs them

    def of(self, sequence: int) -> Layout:
        """The layout with a sequence's own addresses."""
        moved = {name: getattr(self, name) + sequence * step for name, step in self.pitch.items()}
        return replace(self, sequence=sequence, **moved)

    @property
    def norm_registers(self) -> int:
        """Heads of q or k that can be normalised at once, with the registers of a wave; 0: the machine cannot.

        Two heads in a block take neighbouring registers; the first of the two has an even number.
        """
        g, wave = self.geometry, self.wave * self.geometry.shape.queries_per_kv
        if all(len({head for at, head in passes if at == block}) == 1
               for passes in self.head_passes.values() for block, _ in passes):
            return wave
        if g.config.groups != 2 or g.padded_head % g.config.group_lanes:
            return 0
        return wave if wave >= g.shape.heads else wave - wave % 2

    @property
    def memories(self) -> tuple[Memory, ...]:
        return (self.bank, self.param, self.vector, self.act, self.constant)


FIXED_SCALARS = 5
"""Scalar registers besides those of the heads and chunks: two inverse norms, two x shifts, the stream's shift."""


ROUTE_SCALARS, ROUTE_REDUCES = 4, 3
"""Registers of a router that picks several experts: the top logit, 1 over the sum, and the factor of each of two; the
top logit or the sum, and each factor."""


def lay_out(model: QuantisedModel, config: Config, context: int, sequences: int = 1,
            top_k: int = 0) -> Layout:
    """Place a model for so many sequences. Never fails for lack of room: `compiler.fit` says what does not fit, and by
    how much."""
    g = Geometry(shape=model.shape, config=config, context=context)
    shape, lanes, taps = model.shape, config.lanes, config.taps
    act_scale = config.act_width // lanes  # vectors in a row of activation memory
    bank, param = Memory("bank rows", config.bank_rows), Memory("parameter rows", config.param_rows)
    vector, act = Memory("vector rows", config.vector_rows), Memory("activation vectors", config.act_vectors)
    constant = Memory("constants", config.constants)
    matrices: dict[str, Matrix] = {}
    private: dict[str, int] = {}  # addresses
    pitch: dict[str, int] = {}

    def own(name: str, memory: Memory, region: str, size: int) -> None:
        """A region of each sequence's own; in activation memory in whole rows."""
        if memory is act:
            size = ceil_div(size, act_scale) * act_scale
        private[name], pitch[name] = memory.take(region, size * sequences), size

    def over(memory: Memory, size: int, name: str) -> None:
        """Where the memory is too small for all, what comes later lies over what attention has done with."""
        size = ceil_div(size, act_scale) * act_scale * sequences if memory is act else size * sequences
        if memory.used + size > memory.depth:
            memory.used = private[name]

    halves: dict[str, tuple[int, Plane]] = {}  # where the next matrix of each piece of four-bit weights lies

    def rows(name: str, piece: str, size: int) -> tuple[int, Plane]:
        if piece not in halves:
            return bank.take(name, size), Plane.BYTES
        row, plane = halves[piece]
        halves[piece] = row + size, plane
        return row, plane

    def matrix(name: str, outputs: Index, inputs: Index, *, piece: str = "", at: tuple[int, Plane] | None = None,
               pitch: int | None = None, param_row: int | None = None) -> None:
        outputs, inputs = pad_to(outputs, lanes), pad_to(inputs, taps)
        blocks, steps = len(outputs) // lanes, len(inputs) // taps
        row, plane = at or rows(name, piece, blocks * steps)
        matrices[name] = Matrix(
            name=name, outputs=outputs, inputs=inputs, blocks=blocks, steps=steps, row_pitch=pitch or steps, row=row,
            param=param.take(name, blocks) if param_row is None else param_row, plane=plane)

    x = np.arange(shape.dim, dtype=np.int64)
    hidden = pad_to(np.arange(shape.hidden, dtype=np.int64), lanes)
    embed_row = bank.take("embedding", ceil_div(shape.vocab * g.embed_columns, taps))
    embed_param = param.take("embedding", g.x_blocks)
    matrix("classifier", np.arange(shape.vocab, dtype=np.int64), x)
    rope_param = param.take("RoPE", context * g.rope_period)

    layer_row, layer_param = bank.used, param.used
    ends = [ceil_div(end, lanes) for end in model.hidden_chunks]
    chunks = tuple(zip([0, *ends[:-1]], ends, strict=True))
    x_steps = ceil_div(shape.dim, taps)
    packed = model.weight_bits == 4 and config.weight_planes
    network = {"gate and up": 2 * g.hidden_blocks * x_steps,
               "down": g.x_blocks * sum(ceil_div((end - first) * lanes, taps) for first, end in chunks)}
    if packed:  # matrices that one input is for stay together: one word then runs through all of them
        projections = sum(len(outputs) // lanes for outputs in (
            g.head_map(shape.kv_heads), g.head_map(shape.heads), g.value_map())) * x_steps
        halves |= bank.take_halves({
            "projections": projections, "wo": g.x_blocks * ceil_div(len(g.attention_map()), taps),
            **({} if model.experts else network)})
    matrix("wk", g.head_map(shape.kv_heads), x, piece="projections")
    matrix("wq", g.head_map(shape.heads), x, piece="projections")
    matrix("wv", g.value_map(), x, piece="projections")
    biased = model.layers[0].bias_q is not None
    if biased:  # one step: the first one-hot activation picks them
        for name in ("wk", "wq", "wv"):
            matrix(f"bias {name[1]}", matrices[name].outputs, np.zeros(1, np.int64))
    # Where heads are normalised: a parameter row for each head in each block, the only ones of q and k that differ.
    normed = {name: heads for name, heads in (("wq", shape.heads), ("wk", shape.kv_heads))
              if model.layers[0].head_q is not None}
    head_passes = {name: head_blocks(g, heads) for name, heads in normed.items()}
    head_params = {name: param.take(f"norm {name[1]}", len(passes)) for name, passes in head_passes.items()}
    attention_param = param.take("attention", shape.queries_per_kv * g.value_blocks)
    matrix("wo", x, g.attention_map(), piece="wo")
    if experts := model.experts:
        matrix("router", np.arange(experts, dtype=np.int64), x)
    expert_row = bank.used
    if packed and experts:
        halves |= bank.take_halves(network)
    gate, plane = rows("gate and up", "gate and up", network["gate and up"])
    matrix("gate", hidden, x, at=(gate, plane), pitch=2 * x_steps)
    matrix("up", hidden, x, at=(gate + x_steps, plane), pitch=2 * x_steps)
    down_param = param.take("down", g.x_blocks)
    for number, (first, end) in enumerate(chunks):
        matrix(f"down{number}", x, hidden[first * lanes:end * lanes], piece="down",
               param_row=down_param)
    expert_rows = bank.used - expert_row if experts else 0
    if experts:
        bank.take("further experts", expert_rows * (experts - 1))
    own("key_row", bank, "K cache", shape.kv_heads * g.key_rows)
    own("value_row", bank, "V cache", g.value_blocks * g.value_rows)
    layer_rows, layer_params = bank.used - layer_row, param.used - layer_param
    if shape.layers > 1:
        bank.take("further layers", layer_rows * (shape.layers - 1))
        param.take("further layers", layer_params * (shape.layers - 1))

    route = (ROUTE_SCALARS, ROUTE_REDUCES) if model.experts_used > 1 else (0, 0)
    most_heads = head_registers(config, sequences, len(chunks), *route)
    even = config.groups // int(np.gcd(config.groups, g.units_per_head))  # KV heads after which no V block is shared
    waves = [n for n in range(shape.kv_heads, 0, -1) if n * shape.queries_per_kv <= most_heads
             and (n == shape.kv_heads or n % even == 0)] or [even]
    if config.serial_vector:  # it is what a token waits for, and gains by taking each head's scores while they come
        waves.reverse()
    score_rows = g.padded_context // lanes
    x_size = ceil_div(g.x_blocks, act_scale) * act_scale  # one pass writes x and x8 to the same address
    own("x", vector, "x", x_size)
    act.take("x8", x_size * sequences)
    q_vectors = len(g.head_map(shape.heads)) // lanes
    k_vectors = len(g.head_map(shape.kv_heads)) // lanes
    wide = q_vectors + k_vectors + (g.value_blocks if biased else 0)
    left = vector.depth // sequences - x_size - wide  # rows for scores
    wave = next((n for n in waves if n * shape.queries_per_kv * score_rows <= left), waves[0])
    wave_heads = wave * shape.queries_per_kv
    own("wide", vector, "wide q and k", wide)
    own("scores", vector, "scores", wave_heads * score_rows)
    over(vector, 2 * g.hidden_blocks, "scores")
    if route != (0, 0):
        own("router", vector, "router", 2 * matrices["router"].blocks)
    own("silu", vector, "silu", g.hidden_blocks)
    own("hidden", vector, "hidden", g.hidden_blocks)
    if top_k:
        over(vector, matrices["classifier"].blocks, "scores")
        own("logits", vector, "logits", matrices["classifier"].blocks)
    own("q_act", act, "q", q_vectors)
    own("attention_act", act, "attention", ceil_div(len(g.attention_map()), lanes))
    onehot_act = act.take("one-hot", ceil_div(ceil_div(taps * taps, lanes), act_scale) * act_scale)
    own("probs_act", act, "probabilities", wave_heads * score_rows)
    over(act, g.hidden_blocks, "probs_act")
    own("hidden_act", act, "hidden", g.hidden_blocks)
    constant.take("shifts", 1 + (3 + shape.kv_heads) * shape.layers)
    private |= {"scalars": 0, "reduces": 0}
    pitch |= {"scalars": FIXED_SCALARS + route[0] + 2 * len(chunks) + wave_heads,
              "reduces": 1 + route[1] + len(chunks) + wave_heads}
    return Layout(
        geometry=g, sequences=sequences, pitch=pitch, matrices=matrices, bank=bank, param=param, vector=vector, act=act,
        constant=constant, layer_rows=layer_rows, layer_params=layer_params, embed_row=embed_row,
        embed_param=embed_param, attention_param=attention_param, rope_param=rope_param, hidden_chunks=chunks,
        head_passes=head_passes, head_params=head_params, wave=wave, score_rows=score_rows, onehot_act=onehot_act,
        experts=experts, expert_rows=expert_rows, route=route, top_k=top_k, **private)


def head_blocks(g: Geometry, heads: int) -> tuple[tuple[int, int], ...]:
    """(block, head) of every block of q or k and every head that it has lanes of, in order."""
    return tuple((block, head) for block in range(ceil_div(heads * g.padded_head, g.config.lanes))
                 for head in range(block * g.config.lanes // g.padded_head,
                                   min(heads, ((block + 1) * g.config.lanes - 1) // g.padded_head + 1)))


def head_registers(config: Config, sequences: int, chunks: int, scalars: int = 0, reduces: int = 0) -> int:
    """Query heads of one sequence that the scalar and reduce registers can work for at once; so many are the router's.
    """
    return min(config.scalars // sequences - FIXED_SCALARS - scalars - 2 * chunks,
               config.reduces // sequences - 1 - reduces - chunks)
