"""ULX3S with an 85F and a machine for one dense model at a time: a higher clock, and less that a model can have."""

from dataclasses import replace

from fpga.boards import ulx3s

BOARD = replace(ulx3s.BOARD, name="ulx3s-fast", title="ULX3S-85F, fast", preset="ulx3s-fast", core_mhz=80.0)
