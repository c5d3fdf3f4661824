"""Lowering: one token as a list of operations, in an order that would be correct one at a time.

Each method, here, in compiler/lower_attention.py and in compiler/lower_feed_forward.py, is one step of docs/numerics.md
section 2. Addresses come from the Layout, shifts from the model; waits and loops come later.
"""

from __future__ import annotations

from compiler.emit import Value
from compiler.ir import Operation, Section
from compiler.layout import Layout
from compiler.lower_attention import Attention
from compiler.lower_feed_forward import EXP2_TOP, FeedForward
from compiler.quantised import QuantisedModel
from compiler.style import Style
from rtl.isa import VECTOR, Addend, Factor1, Factor2, Function, Mask, Reduce, ScalarFunction, Source, Store
from rtl.timing import NOISE_ROWS

MOST_TOP_K = ((1 << 16) - 1) // EXP2_TOP
"""Likeliest tokens that SEARCH's immediate counts, each as EXP2 of 0."""
LOGIT_BITS = 16
NOTHING_LEFT = 31
"""A shift that makes 0 of all 16-bit numbers."""


class _Lowering(Attention, FeedForward):
    """The steps of a token."""

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
