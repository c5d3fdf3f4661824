"""Lowering of the feed-forward network: one of a layer, or those that its router chooses."""

from __future__ import annotations

from compiler.emit import Emitter, Value
from compiler.layout import ROUTE_SCALARS
from compiler.prepare import ROUTER_LIFT
from compiler.quantise import SOFTMAX_ADJUST
from rtl.isa import Addend, Factor2, Function, Mask, Reduce, ScalarFunction, Source, Store

EXP2_TOP = 127
"""EXP2 of 0."""
CONST_BITS = 14
"""The mantissa of CONST is one with so many bits behind the point."""
SHARE_BITS, SHARE_SHIFT = 14, 7
"""Bits behind the point of an expert's share, and the shift that makes them of a power times 1 over the sum."""


class FeedForward(Emitter):
    """The steps of a layer's feed-forward network."""

    def feed_forward(self) -> None:
        """One network, or those that the router chooses."""
        if not self.layout.experts:
            self.network(self.rms_ffn)
            return
        for number, rms in enumerate(self.route()):
            self.choice = 1 + number
            self.network(rms)
        self.choice = 0

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
