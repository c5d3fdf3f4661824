"""The manual of the instruction set, docs/isa.md."""

from __future__ import annotations

from rtl import isa
from rtl.config import PRESETS
from rtl.encoding import word_bits
from rtl.isa import QUEUES


def manual() -> str:
    """docs/isa.md: every word of every queue, with its width on each preset."""
    lines = ["# Instruction set", "", "Generated from `rtl/isa.py` by `lpu isa -o docs/isa.md`; do not edit.", ""]
    assert isa.__doc__ is not None
    lines += [*isa.__doc__.split("\n\n", 1)[1].strip().splitlines(), ""]
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
