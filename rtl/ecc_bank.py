"""A bank whose rows are words of an error-correcting code: rtl/bank.py's Bank with `Config.ecc`.

```
read_row --> [ memory ] -> [bank register] -> corrector -> [read_data] ---> matrix unit
                  ^                                             |
                  +--- check bits <--- merge with the bytes <---+
                                       of a write
```

K and V come a few bytes at a time, and check bits are those of a whole row. So a write first reads its row, in the
cycle in which it would write on another bank, and lands when the corrected row is there. That takes the read port for
a cycle, in which the matrix unit must not read (`Config.shared_port`). A write to a row that has another write on its
way builds on what that one makes of the row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned

from rtl.arithmetic import node, register
from rtl.ecc import Code
from rtl.timing import MEMORY, bank_stages


def ecc_bank(unit: Any, memory: Callable[..., Value]) -> Module:
    """The module of a rtl.bank.Bank whose Config says `ecc`, around rtl.bank.memory."""
    cfg, m = unit.cfg, Module()
    code, stages = Code(8 * cfg.taps), bank_stages(cfg)

    # A write's way: row, enables and bytes 0, 1, ... `stages` cycles later, and whether the row was already under way.
    writing = node(m, unit.write_enable.any(), "writing")
    rows, enables, bytes_ = [unit.write_row], [unit.write_enable], [Value.cast(unit.write_data)]
    for late in range(1, stages + 1):
        rows.append(register(m, rows[-1], f"row_late{late}"))
        enables.append(register(m, enables[-1], f"enable_late{late}"))
        bytes_.append(register(m, bytes_[-1], f"bytes_late{late}"))
    # Bit d - 1: the write d cycles before goes to the same row, and none after it.
    same = [node(m, enables[d].any() & (rows[d] == unit.write_row), f"same{d}") for d in range(1, stages + 1)]
    under_way = Cat(same[d] & ~Cat(same[:d]).any() if d else same[d] for d in range(stages))
    for late in range(1, stages + 1):
        under_way = register(m, under_way, f"under_way{late}")

    # The row is read, and corrected. What a write replaces whole, or takes from the write before, is not looked at.
    merged = Signal(code.data)
    found = memory(
        m, cfg, shape=unsigned(code.bits), init=[code.encode(row) for row in unit.init],
        read_row=Mux(writing, unit.write_row, unit.read_row), read_enable=writing | unit.read_enable,
        write_row=rows[-1], write_enable=enables[-1].any(), write_data=Cat(merged, code.check_bits(merged)))
    looked_at = Mux(writing, ~unit.write_enable.all() & ~Cat(same).any(), unit.read_enable)
    for late in range(MEMORY, stages):
        looked_at = register(m, looked_at, f"looked_at{late}")
    if cfg.bank_register:
        found = register(m, found, "found_late")
    row, one, two = code.decode(m, found)
    m.d.sync += [
        unit.read_data.eq(row), unit.corrected.eq(looked_at & one), unit.uncorrectable.eq(looked_at & two)]

    # Merge: the bytes of this write over what the last one to the row has made of it, or what was read.
    before, base = merged, Value.cast(unit.read_data)
    for d in range(stages):
        before = register(m, before, f"merged_late{d + 1}")
        base = Mux(under_way[d], before, base)
    m.d.comb += merged.eq(Cat(
        Mux(enables[-1][byte], bytes_[-1][8 * byte:8 * byte + 8], base[8 * byte:8 * byte + 8])
        for byte in range(cfg.taps)))
    return m
