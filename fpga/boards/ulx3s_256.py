"""ULX3S with an 85F and the machine of 256 multipliers: more tokens a second, and less that a model can have."""

from dataclasses import replace

from fpga.boards import ulx3s

BOARD = replace(ulx3s.BOARD, name="ulx3s-256", title="ULX3S-85F, 256", preset="ulx3s-256")
