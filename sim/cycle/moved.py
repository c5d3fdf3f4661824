"""Hazards of reads whose address is not in the program: a gather's moves with the token, an expert's with the router.

Everything else that is read and written is in `access`, and `check` holds it against each other once for all tokens.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence

from rtl.config import Config
from rtl.timing import timing
from sim.cycle.access import Accesses, Space, Touches, act_pieces, store_writes
from sim.cycle.program import IllegalProgram
from sim.cycle.timeline import Output, Timeline


def check_moved(cfg: Config, timeline: Timeline, accesses: Accesses, *, positions: Sequence[int],
                tokens: Sequence[int], key_step: int, embed_shift: int, expert_rows: int) -> None:
    """No gather and no step of an expert's matrix reads what a write, issued before it, is still on its way to.

    An expert's matrix may be any expert's: which one is a matter of values, and whether a program is legal is not.

    Parameters
    ----------
    positions, tokens : of each sequence. The rest: registers of the control unit.

    Raises
    ------
    IllegalProgram : one does.
    """
    outputs = [output for output in timeline.outputs if output.gather or output.choice]
    if not outputs:
        return
    columns = [divmod(token << embed_shift, cfg.taps) for token in tokens]
    experts = [expert * expert_rows for expert in range(max(1, cfg.experts))]

    def rows(output: Output, step: int) -> list[int]:
        moves = [columns[output.word.fields["sequence"]][0]] if output.gather else experts
        return [int(output.rows[step]) + move for move in moves]

    def cells(output: Output, step: int) -> list[int]:
        tap = columns[output.word.fields["sequence"]][1]
        return [cell for word in output.acts[step] for cell in act_pieces(cfg, int(word) + tap, cfg.taps)]

    _pending(cfg, outputs, store_writes(cfg, accesses.stores, positions, key_step), rows)
    _pending(cfg, [output for output in outputs if output.gather], accesses.writes[Space.ACT], cells)


def _pending(cfg: Config, outputs: Sequence[Output], writes: Touches,
             cells: Callable[[Output, int], Collection[int]]) -> None:
    """cells : what an output reads in a step."""
    starts = [output.cycle for output in outputs]
    read = timing(cfg).matrix_read
    for number, (cell, time, issue) in enumerate(zip(
            writes.cell.tolist(), writes.time.tolist(), writes.issue.tolist(), strict=True)):
        # Steps that are issued after the write and read before it can be seen, first to last.
        first, last = issue + 1, time - read - 1
        for output in outputs[max(0, bisect_right(starts, first) - 1):bisect_right(starts, last)]:
            for cycle in range(max(first, output.cycle), min(last, output.cycle + len(output.rows) - 1) + 1):
                if cell in cells(output, cycle - output.cycle):
                    raise IllegalProgram(
                        cycle + read, f"{{}} reads {writes.space.value} {cell} while the write of {{}}, issued in "
                        f"cycle {issue}, cannot be seen before cycle {time}", output.word, writes.word(number))
