"""ULX3S with an 85F, board version 2 or 3."""

from fpga.board import Board, Flash, Pin
from rtl.technology import Technology

BOARD = Board(
    name="ulx3s", title="ULX3S-85F", family=Technology.ECP5, device="85k", package="CABGA381", speed="6",
    preset="ulx3s", model="fables260k",
    clock=Pin(name="G2"), clock_mhz=25.0, core_mhz=50.0,
    # The USB chip's names are from its side: ftdi_txd comes to the FPGA.
    rx=Pin(name="M1", pull="up"), tx=Pin(name="L4"), baud=1_000_000,
    button=Pin(name="R1", pull="down"),  # FIRE1
    leds=tuple(Pin(name=name) for name in ("B2", "C2", "C1", "D2", "D1", "E2", "E1", "H3")),
    high=((Pin(name="L2"), "GPIO0 of the ESP32: low would let it take the board over"),),
    # The clock pin is the configuration's own: primitive USRMCLK. The smallest flash that was fitted.
    flash=Flash(select=Pin(name="R2", low=True), clock=None, out=Pin(name="W2"), into=Pin(name="V2"),
                size=4 << 20, free=2 << 20),
    programmer="ulx3s",
    sources=("emard/ulx3s, doc/constraints/ulx3s_v20.lpf", "amaranth-boards, amaranth_boards/ulx3s.py",
             "litex-boards, litex_boards/platforms/radiona_ulx3s.py (without the button)"))
