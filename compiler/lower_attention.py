"""Lowering of attention: q, k and v, scores, softmax and A.V."""

from __future__ import annotations

from compiler.emit import Emitter, Value
from compiler.ir import Count
from compiler.layout import Matrix
from compiler.quantise import NORM_ADJUST, SOFTMAX_ADJUST
from rtl.isa import Addend, Factor1, Factor2, Function, Mask, Reduce, ScalarFunction, Source, Store
from rtl.timing import timing


class Attention(Emitter):
    """The steps of a layer's attention."""

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
