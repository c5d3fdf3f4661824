"""Initial contents of memories, out of the Verilog and into files of their own.

Amaranth writes each row of a memory as a statement. Yosys takes minutes to read the 49,152 rows of sixteen banks so
(25 s for 6,144 rows) and Verilator as long; both take seconds for `$readmemh`.
"""

from __future__ import annotations

import re

ROWS = re.compile(r"  initial begin\n((?:    \S+ ?\[\d+\] = \d+'[dh][0-9a-f]+;\n)+)  end\n")
ROW = re.compile(r"    (\S+) ?\[(\d+)\] = \d+'([dh])([0-9a-f]+);\n")
MODULE = re.compile(r"^module (\\\S+|\w+)", re.MULTILINE)
FEW_ROWS = 256
"""Memories of no more rows than this stay in the Verilog."""


def split_rows(verilog: str, *, folder: str = "") -> tuple[str, dict[str, str]]:
    """Verilog that reads the contents of its larger memories from files, and these files by name.

    Parameters
    ----------
    verilog : as `rtl.verilog.convert` makes it.
    folder : where the files will be when the Verilog is read; by default the tool's working folder. Ends in a slash.

    Raises
    ------
    ValueError : a memory's rows are not all there, or two memories would have one file.
    """
    files: dict[str, str] = {}

    def move(match: re.Match[str]) -> str:
        rows = ROW.findall(match[1])
        if len(rows) <= FEW_ROWS:
            return match[0]
        memory = rows[0][0]
        if [(name, int(number)) for name, number, *_ in rows] != [(memory, number) for number in range(len(rows))]:
            raise ValueError(f"the rows of memory {memory} are not in order")
        module = MODULE.findall(verilog, 0, match.start())[-1]
        file = re.sub(r"[^\w.]", "", f"{module}.{memory}.hex")
        if file in files:
            raise ValueError(f"two memories are called {file}")
        files[file] = "".join(f"{int(value, 16 if base == 'h' else 10):x}\n" for _, _, base, value in rows)
        space = " " if memory.startswith("\\") else ""
        return f'  initial $readmemh("{folder}{file}", {memory}{space});\n'

    return ROWS.sub(move, verilog), files
