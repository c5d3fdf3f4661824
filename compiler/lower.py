"""Lowering: one token as a list of operations, in an order that would be correct one at a time.

Each method below is one step of docs/numerics.md section 2. Addresses come from the Layout, shifts from the model;
waits and loops come later.
"""

from __future__ import annotations

from compiler.emit import Emitter, Value
from compiler.ir import Count, Operation, Section
from compiler.layout import ROUTE_SCALARS, Layout, Matrix
from compiler.prepare import ROUTER_LIFT
from compiler.quantise import NORM_ADJUST, SOFTMAX_ADJUST
from compiler.quantised import QuantisedModel
from compiler.style import Style
from rtl.isa import VECTOR, Addend, Factor1, Factor2, Function, Mask, Reduce, ScalarFunction, Source, Store
from rtl.timing import NOISE_ROWS, timing

CONST_BITS = 14
"""The mantissa of CONST is one with so many bits behind the point."""
EXP2_TOP = 127
"""EXP2 of 0."""
MOST_TOP_K = ((1 << 16) - 1) // EXP2_TOP
"""Likeliest tokens that SEARCH's immediate counts, each as EXP2 of 0."""
LOGIT_BITS = 16
NOTHING_LEFT = 31
"""A shift that makes 0 of all 16-bit numbers."""
SHARE_BITS, SHARE_SHIFT = 14, 7
"""Bits behind the point of an expert's share, and the shift that makes them of a power times 1 over the sum."""


class _Lowering(Emitter):
    """The steps of a token."""

    @property
    def x8(self) -> int:
        """Activation word of x8."""
        return self.words(self.layout.x)

    def embedding(self) -> None:
        """x, x8 and the sum of squares of the token: a one-hot activation word picks its column."""
        layout, g, taps = self.layout, self.g, self.cfg.taps
        self.scalar("x shift", ScalarFunction.CONST, dst=self.shift_next, constant=0)
        for block in range(g.x_blocks):
            slot = self.slot
            self.matrix(f"embedding[{block}]", row=layout.embed_row + block // taps,
                        act=self.words(layout.onehot_act) + block % taps, gather=1)
            self.vector(f"embed[{block}]", source=Source.ACC, slot=slot, factor1=Factor1.UNSIGNED,
                        param=layout.embed_param + block, s1=self.model.shifts.embed_s1, dst=layout.x + block, write=1,
                        store=Store.ACT, out_scaled=1, out_scalar=self.shift_next)
            self.square(block)

    @property
    def biased(self) -> bool:
        """Whether something is added to q, k and v."""
        return "bias q" in self.layout.matrices

    def wide(self, name: str, block: int) -> int:
        """Vector row of a block of the wide q or k, or of v's bias."""
        matrices = self.layout.matrices
        before = {"wq": 0, "wk": matrices["wq"].blocks, "wv": matrices["wq"].blocks + matrices["wk"].blocks}
        return self.layout.wide + before[name] + block

    def biases(self) -> None:
        """Biases to the rows that q, k and v are made in: they need nothing of the token, so they come first."""
        matrices, shifts = self.layout.matrices, self.model.shifts
        s1 = {"bias k": shifts.bias_k, "bias q": shifts.bias_q, "bias v": shifts.bias_v}
        jobs = [(matrices[name], block) for name in s1 for block in range(matrices[name].blocks)]
        for matrix, block, slot in self.matmuls(jobs, self.words(self.layout.onehot_act), fresh=False):
            self.requantise(matrix, block, slot, (0, s1[matrix.name], 0), matrix.name,
                            dst=self.wide(f"w{matrix.name[-1]}", block), write=1)

    def bias(self, name: str, block: int) -> dict[str, Value]:
        """Fields of a pass that adds the bias of its block."""
        return {"addend": Addend.MEM, "src": self.wide(name, block)} if self.biased else {}

    def projections(self, early: int) -> None:
        """K, then Q, then the first `early` blocks of V: the rotation of one hides behind the next one's projection."""
        matrices = self.layout.matrices
        jobs = [(matrices[name], block) for name in ("wk", "wq") for block in range(matrices[name].blocks)]
        jobs += [(matrices["wv"], block) for block in range(early)]
        for matrix, block, slot in self.matmuls(jobs, self.x8):
            if matrix.name == "wv":
                self.value(matrix, block, slot)
            else:
                self.projected(matrix, block, slot)

    def projected(self, matrix: Matrix, block: int, slot: int) -> None:
        """A block of q or k leaves its accumulator: keep it wide, normalise its heads, rotate what is done."""
        shifts, query, wide = self.model.shifts, matrix.name == "wq", self.wide(matrix.name, block)
        self.requantise(matrix, block, slot, shifts.q if query else shifts.k, matrix.name, factor2=Factor2.SCALAR,
                        scalar=self.rms_attention, dst=wide, write=1, **self.bias(matrix.name, block))
        passes = self.layout.head_passes.get(matrix.name)
        if passes is None:
            self.rotated(matrix, block)
            return
        cfg, g, pool = self.cfg, self.g, self.layout.norm_registers
        s1, s2, _ = shifts.head_q if query else shifts.head_k
        for at, (where, head) in enumerate(passes):
            if where != block:
                continue
            number = head % pool
            self.vector(f"head square {matrix.name[1]}[{block}.{head}]", source=Source.MEM, src=wide,
                        factor1=Factor1.UNSIGNED, param=self.layout.head_params[matrix.name] + at, s1=s1,
                        factor2=Factor2.SQUARE, s2=s2, reduce=Reduce.SUM, target=self.head_target + number,
                        first=int(block == head * g.padded_head // cfg.lanes))
            if block < ((head + 1) * g.padded_head - 1) // cfg.lanes:
                continue
            self.scalar(f"head rsqrt {matrix.name[1]}[{head}]", ScalarFunction.RSQRT, reduce=self.head_target + number,
                        dst=self.head_scalar + number, bias=shifts.head_bias, adjust=NORM_ADJUST)
            for other in dict.fromkeys(where for where, one in passes if one == head):
                if max(one for where, one in passes if where == other) == head:
                    self.rotated(matrix, other)

    def normalised(self, name: str, block: int, head: int | None = None) -> dict[str, Value]:
        """Fields of a rotation that multiplies by 1/rms: of one head, or of each lane group's."""
        heads = [one for where, one in self.layout.head_passes.get(name, ()) if where == block]
        if not heads:
            return {}
        shifts, first = self.model.shifts, heads[0] if head is None else head
        return {"factor2": Factor2.SCALAR, "scalar": self.head_scalar + first % self.layout.norm_registers,
                "grouped": int(head is None and len(heads) > 1),
                "s2": (shifts.head_q if name == "wq" else shifts.head_k)[2]}

    def rotated(self, matrix: Matrix, block: int) -> None:
        """A block of q or k is rotated, normalised if it is to be, and stored."""
        layout, g, cfg, shifts = self.layout, self.g, self.cfg, self.model.shifts
        query, wide = matrix.name == "wq", self.wide(matrix.name, block)
        rotate: dict[str, Value] = {
            "source": Source.MEM, "src": wide, "rotate": 1, "repeat": 1, "rope": 1,
            "param": layout.rope_param + block % g.rope_period, "factor1": Factor1.SIGNED, "s1": 7,
            "s3": shifts.rotate_q_s3 if query else shifts.rotate_k_s3}
        if query:
            self.vector(f"rotate q[{block}]", **rotate, **self.normalised("wq", block), store=Store.ACT,
                        dst=layout.q_act + block)
            return
        for piece in range(max(1, cfg.lanes // cfg.taps)):
            element = block * cfg.lanes + piece * cfg.taps
            head, word = element // g.padded_head, element % g.padded_head // cfg.taps
            if head < g.shape.kv_heads:
                chunk = piece if cfg.lanes >= cfg.taps else element % cfg.taps // cfg.lanes
                self.vector(f"rotate k[{block}.{piece}]", **rotate, **self.normalised("wk", block, head),
                            store=Store.KEYS, chunk=chunk, dst=layout.key_row + head * g.key_rows + word)

    def value(self, matrix: Matrix, block: int, slot: int) -> None:
        """A block of v leaves its accumulator for the transposed V cache."""
        self.requantise(matrix, block, slot, self.model.shifts.v, "wv", factor2=Factor2.SCALAR,
                        scalar=self.rms_attention, store=Store.VALUES, s3=self.model.shifts.value_s3,
                        dst=self.layout.value_row + block * self.g.value_rows, **self.bias("wv", block))

    def late_values(self, early: int) -> None:
        """The blocks of V from `early` on."""
        matrix = self.layout.matrices["wv"]
        if early < matrix.blocks:
            jobs = [(matrix, block) for block in range(early, matrix.blocks)]
            for _, block, slot in self.matmuls(jobs, self.x8, fresh=False):
                self.value(matrix, block, slot)

    def attention(self, early: int) -> None:
        """Scores, softmax and A.V, breadth first over the heads of a wave. early: blocks of V that are there."""
        for first in range(0, self.g.shape.kv_heads, self.layout.wave):
            last = min(first + self.layout.wave, self.g.shape.kv_heads)
            share = self.g.shape.queries_per_kv
            order = [(rep, kv) for rep in range(share) for kv in range(first, last)]
            for number, (rep, kv) in enumerate(order):
                self.scores(number, kv * share + rep, kv)
            if first == 0:
                self.late_values(early)
            for number, _ in enumerate(order):
                self.softmax(number)
            self.weighted_values(first, last)

    def scores(self, number: int, head: int, kv: int) -> None:
        """Scores of one query head and their maximum. number: of the head in its wave.

        A block of scores is made every head_steps cycles and the accumulators are fewer than the blocks, so the
        vector operation is the matmul's partner: it takes each block `lag` cycles after its matmul began.
        """
        layout, g, cfg = self.layout, self.g, self.cfg
        t, count = timing(cfg), Count(scale=cfg.bucket_positions // cfg.lanes)
        slot, target = self.slot, self.head_target + number
        # The shift differs between layers, so it is a constant; it waits in the register that the head needs later.
        layers = g.shape.layers
        self.scalar(f"score shift[{head}]", ScalarFunction.CONST, dst=self.head_scalar + number,
                    constant=1 + (3 + kv) * layers)
        made = self.matrix(f"scores[{head}]", {"outer": count}, True, repeat=g.head_steps - 1,
                           row=layout.key_row + kv * g.key_rows, row_step=g.head_steps,
                           act=self.words(layout.q_act) + head * g.head_steps)
        lag = g.head_steps - 1 + t.acc_visible - t.acc_read
        self.vector(f"score[{head}]", count, made, lag, pace=g.head_steps - 1, source=Source.ACC, slot=slot,
                    inc_slot=1, early=1, scalar=self.head_scalar + number, write=1,
                    dst=layout.scores + number * layout.score_rows, inc_dst=1,
                    mask=Mask.POSITION, reduce=Reduce.MAX, target=target, first=1)
        self.scalar(f"top[{head}]", ScalarFunction.NEGATE, reduce=target, dst=self.head_scalar + number)

    def softmax(self, number: int) -> None:
        """Probabilities of one head, un-normalised, and 1 over their sum."""
        layout, cfg = self.layout, self.cfg
        count = Count(scale=cfg.bucket_positions // cfg.lanes)
        scalar, target = self.head_scalar + number, self.head_target + number
        self.vector(f"exp[{number}]", count, source=Source.MEM, src=layout.scores + number * layout.score_rows,
                    inc_src=1, addend=Addend.SCALAR, scalar=scalar, function=Function.EXP2, mask=Mask.POSITION,
                    store=Store.ACT, dst=layout.probs_act + number * layout.score_rows, inc_dst=1,
                    reduce=Reduce.SUM, target=target, first=1)
        self.scalar(f"recip[{number}]", ScalarFunction.RECIP, reduce=target, dst=scalar, adjust=SOFTMAX_ADJUST)

    def weighted_values(self, first: int, last: int) -> None:
        """A.V for the KV heads first..last-1; each lane group can work for another head."""
        layout, g, cfg = self.layout, self.g, self.cfg
        count = Count(scale=cfg.bucket_positions // cfg.taps)
        heads, per_head, groups = last - first, g.units_per_head, cfg.groups
        for rep in range(g.shape.queries_per_kv):
            for block in range(first * per_head // groups, -(-last * per_head // groups)):
                kv = [min((block * groups + group) // per_head, last - 1) - first for group in range(groups)]
                number = rep * heads + kv[0]
                apart = self.words((kv[-1] - kv[0]) * layout.score_rows)
                slot = self.slot
                self.matrix(f"av[{rep}.{block}]", {"repeat": count}, True,
                            row=layout.value_row + block * g.value_rows,
                            act=self.words(layout.probs_act + number * layout.score_rows), group_step=apart)
                s0, s1, s2 = self.model.shifts.attention
                vector = rep * g.value_blocks + block
                self.vector(f"attention[{rep}.{block}]", source=Source.ACC, slot=slot, s0=s0, early=1,
                            factor1=Factor1.UNSIGNED, param=layout.attention_param + vector, s1=s1,
                            factor2=Factor2.SCALAR, scalar=self.head_scalar + number, grouped=int(apart != 0), s2=s2,
                            store=Store.ACT, dst=layout.attention_act + vector)

    def residual(self, matrix: Matrix, act: int, shifts: tuple[int, int, int], *, scalar: int | None, out: int | None,
                 name: str, fresh: bool) -> None:
        """x += matrix @ activations. scalar: register of a factor; out: of the x shift, for x8 and the squares."""
        jobs = [(matrix, block) for block in range(matrix.blocks)]
        for _, block, slot in self.matmuls(jobs, act, fresh=fresh):
            row = self.layout.x + block
            fields: dict[str, Value] = {"addend": Addend.MEM, "src": row, "dst": row, "write": 1}
            if scalar is not None:
                fields |= {"factor2": Factor2.SCALAR, "scalar": scalar}
            if out is not None:
                fields |= {"store": Store.ACT, "out_scaled": 1, "out_scalar": out}
            self.requantise(matrix, block, slot, shifts, name, **fields)
            if out is not None:
                self.square(block)

    def route(self) -> list[int]:
        """The router chooses experts. Returns for each of them the scalar register with 1/rms times its share."""
        layout, shifts, matrix = self.layout, self.model.shifts, self.layout.matrices["router"]
        used, last = self.model.experts_used, matrix.blocks - 1
        tail = self.model.experts % self.cfg.lanes
        logits, shares = layout.router, layout.router + matrix.blocks
        masked: dict[str, Value] = {"mask": Mask.TAIL, "tail": tail} if tail else {}
        for _, block, slot in self.matmuls([(matrix, block) for block in range(matrix.blocks)], self.x8):
            kept: dict[str, Value] = {"dst": logits + block, "write": 1} if used > 1 else {}
            self.requantise(matrix, block, slot, shifts.router, "router", factor2=Factor2.SCALAR, scalar=self.rms_ffn,
                            reduce=Reduce.ARGMAX, choice=1, first=int(block == 0), **kept,
                            **(masked if block == last else {}))
        if used == 1:
            return [self.rms_ffn]
        top, whole, first, second = range(self.route_scalar, self.route_scalar + ROUTE_SCALARS)
        target = self.route_target
        # Positive, so that what pads the last row, which is 0, is never the largest.
        for block in range(matrix.blocks):
            self.vector(f"lift[{block}]", source=Source.MEM, src=logits + block, s2=ROUTER_LIFT, addend=Addend.SCALAR,
                        scalar=self.shift_ffn, dst=logits + block, write=1, **(masked if block == last else {}))
        rows: dict[str, Value] = {"source": Source.MEM, "inc_src": 1, "repeat": last}
        best: dict[str, Value] = {"reduce": Reduce.MAX, "first": 1}
        self.vector("second", **rows, src=logits, mask=Mask.CHOSEN, reduce=Reduce.ARGMAX, choice=2, first=1)
        self.vector("top logit", **rows, **best, src=logits, s2=shifts.router_unit, target=target)
        self.scalar("top", ScalarFunction.NEGATE, reduce=target, dst=top)
        power: dict[str, Value] = {"src": logits, "s2": shifts.router_unit, "addend": Addend.SCALAR, "scalar": top,
                                   "function": Function.EXP2}
        self.vector("second power", **rows, **power, **best, mask=Mask.CHOSEN, target=target)
        self.vector("powers", **rows, **power, dst=shares, inc_dst=1, write=1)
        self.scalar("recip", ScalarFunction.RECIP, reduce=target, dst=whole, bias=EXP2_TOP, adjust=SOFTMAX_ADJUST)
        self.vector("shares", **rows, src=shares, factor2=Factor2.SCALAR, scalar=whole, s2=SHARE_SHIFT, dst=shares,
                    inc_dst=1, write=1)
        # `early` leaves the exponent of 1/rms out: the scalar register takes it over.
        factor: dict[str, Value] = {**rows, **best, "src": shares, "factor2": Factor2.SCALAR, "scalar": self.rms_ffn,
                                    "early": 1, "s2": SHARE_BITS}
        self.vector("factor 1", **factor, target=target + 1)
        self.vector("factor 2", **factor, target=target + 2, mask=Mask.CHOSEN)
        for number, register in enumerate((first, second)):
            self.scalar(f"factor {number + 1}", ScalarFunction.VALUE, reduce=target + 1 + number, a=self.rms_ffn,
                        dst=register)
        return [first, second]

    def feed_forward(self) -> None:
        """One network, or those that the router chooses."""
        if not self.layout.experts:
            self.network(self.rms_ffn)
            return
        for number, rms in enumerate(self.route()):
            self.choice = 1 + number
            self.network(rms)
        self.choice = 0

    def network(self, rms: int) -> None:
        """w1, w3 and w2, a chunk of the hidden vector after another; each chunk has an exponent of its own.

        rms: scalar register of 1/rms, which may have an expert's share in it.
        """
        layout, shifts = self.layout, self.model.shifts
        final = self.choice == self.model.experts_used
        gate, up = layout.matrices["gate"], layout.matrices["up"]
        done = self.matmuls([job for block in range(gate.blocks) for job in ((gate, block), (up, block))], self.x8,
                            fresh=self.choice == 0)
        for number, (first, end) in enumerate(layout.hidden_chunks):
            for block in range(first, end):
                _, _, slot = next(done)
                self.requantise(gate, block, slot, shifts.gate, "gate", factor2=Factor2.SCALAR, scalar=self.rms_ffn,
                                function=Function.SILU, dst=layout.silu + block, write=1)
                _, _, slot = next(done)
                self.requantise(up, block, slot, shifts.up, "up", factor2=Factor2.MEM, src=layout.silu + block,
                                dst=layout.hidden + block, write=1, reduce=Reduce.MAXABS,
                                target=self.chunk_target + number, first=int(block == first))
            block_scalar = self.chunk_scalar + 2 * number
            self.scalar(f"block[{number}]", ScalarFunction.BLOCK, reduce=self.chunk_target + number, dst=block_scalar)
            self.scalar(f"combine[{number}]", ScalarFunction.COMBINE, a=rms, b=block_scalar,
                        dst=block_scalar + 1)
            for block in range(first, end):
                self.vector(f"hidden[{block}]", source=Source.MEM, src=layout.hidden + block, store=Store.ACT,
                            dst=layout.hidden_act + block, out_scaled=1, out_scalar=block_scalar)
        if self.choice <= 1:
            self.rescale()
        for number, (first, _) in enumerate(layout.hidden_chunks):
            last = number == len(layout.hidden_chunks) - 1
            name, combined = f"down{number}", self.chunk_scalar + 2 * number + 1
            self.residual(layout.matrices[name], self.words(layout.hidden_act + first), shifts.down,
                          scalar=combined, out=self.shift_next if last and final else None, name=name,
                          fresh=number == 0)

    def rescale(self) -> None:
        """x makes room for what the layer adds, where the stream outgrows 16 bits; other models pay nothing."""
        if any(layer.stream_shift for layer in self.model.layers):
            constant = 1 + 2 * self.g.shape.layers
            self.scalar("stream shift", ScalarFunction.CONST, dst=self.shift_stream, constant=constant)
            for block in range(self.g.x_blocks):
                self.vector(f"rescale[{block}]", source=Source.MEM, src=self.layout.x + block, factor2=Factor2.SCALAR,
                            scalar=self.shift_stream, s2=CONST_BITS, dst=self.layout.x + block, write=1)

    def layer(self) -> None:
        """One decoder layer."""
        layout, shifts, layers = self.layout, self.model.shifts, self.g.shape.layers
        self.scalar("ffn x shift", ScalarFunction.CONST, dst=self.shift_ffn, constant=1)
        self.scalar("next x shift", ScalarFunction.CONST, dst=self.shift_next, constant=1 + layers)
        if self.biased:
            self.biases()
        self.inverse_rms(self.rms_attention)
        early = min(self.style.early_values, layout.matrices["wv"].blocks)
        self.projections(early)
        self.attention(early)
        self.residual(layout.matrices["wo"], self.words(layout.attention_act), shifts.o, scalar=None,
                      out=self.shift_ffn, name="wo", fresh=True)
        self.inverse_rms(self.rms_ffn)
        self.feed_forward()

    def classifier(self) -> None:
        """Logits, with noise where the machine has some, and the largest one's number; what the last block pads takes
        no part."""
        matrix, tail = self.layout.matrices["classifier"], self.g.shape.vocab % self.cfg.lanes
        self.inverse_rms(self.rms_attention)
        for _, block, slot in self.matmuls([(matrix, block) for block in range(matrix.blocks)], self.x8):
            if self.layout.top_k:
                further: dict[str, Value] = {"dst": self.layout.logits + block, "write": 1}
            else:
                further = {"reduce": Reduce.ARGMAX, "first": int(block == 0)}
                further |= {"addend": Addend.NOISE} if self.cfg.noise_rate else {}
                if tail and block == matrix.blocks - 1:
                    further |= {"mask": Mask.TAIL, "tail": tail}
            self.requantise(matrix, block, slot, self.model.shifts.logit, "logit", factor2=Factor2.SCALAR,
                            scalar=self.rms_attention, **further)
        if self.layout.top_k:
            self.draw()

    def draw(self) -> None:
        """A token of the likeliest: the least logit that may be drawn is found by successive approximation, a bit a
        round, from how many logits are not less; then noise is added to those that are not less."""
        threshold, count = self.head_scalar, self.head_target
        self.vector("nothing", source=Source.MEM, src=self.layout.x, s1=NOTHING_LEFT, reduce=Reduce.SUM, target=count,
                    first=1)
        self.scalar("threshold", ScalarFunction.NEGATE, reduce=count, dst=threshold)
        kept: dict[str, Value] = {"below": 1, "scalar": threshold}
        for bit in reversed(range(LOGIT_BITS)):
            self.logits(f"count[{bit}]", 1 << VECTOR.by_name["repeat"].bits(self.cfg), **kept, s1=NOTHING_LEFT,
                        function=Function.EXP2, reduce=Reduce.SUM, target=count)
            self.scalar(f"threshold[{bit}]", ScalarFunction.SEARCH, reduce=count, a=threshold, dst=threshold,
                        bias=(1 << 16) - EXP2_TOP * self.layout.top_k, adjust=1)
        self.logits("draw", NOISE_ROWS, **kept, addend=Addend.NOISE, reduce=Reduce.ARGMAX)

    def logits(self, name: str, most: int, **fields: Value) -> None:
        """Passes over all logits in vector memory, so many a word at most."""
        rows, tail = self.layout.matrices["classifier"].blocks, self.g.shape.vocab % self.cfg.lanes
        whole = rows - 1 if tail else rows
        for row in [*range(0, whole, most), *([whole] if tail else [])]:
            masked: dict[str, Value] = {"mask": Mask.TAIL, "tail": tail} if row == whole else {}
            self.vector(f"{name}[{row}]", source=Source.MEM, src=self.layout.logits + row, inc_src=1,
                        repeat=max(0, min(most, whole - row) - 1), first=int(row == 0), **masked, **fields)


def lower(model: QuantisedModel, layout: Layout, style: Style) -> list[Operation]:
    """All operations of one sequence's token: prologue (embedding), body (one layer), epilogue (classifier).

    Their accumulators have no slots yet: see compiler.interleave.
    """
    state = _Lowering(model, layout, style)
    state.embedding()
    state.section = Section.BODY
    state.layer()
    state.section = Section.EPILOGUE
    state.classifier()
    return state.operations


def shift_constants(model: QuantisedModel) -> list[int]:
    """Constant memory: the first layer's x shift, then for each layer the feed-forward shift, the shift of what follows
    it, the stream's shift, and the shift of each KV head's scores; a layer's constants lie one after the layer
    before's."""
    following = [layer.attention_x_shift for layer in model.layers[1:]] + [model.final_x_shift]
    return [model.layers[0].attention_x_shift, *(layer.ffn_x_shift for layer in model.layers), *following,
            *(layer.stream_shift for layer in model.layers),
            *(layer.score_shifts[kv] for kv in range(model.shape.kv_heads) for layer in model.layers)]
