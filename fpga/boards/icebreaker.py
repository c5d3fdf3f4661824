"""iCEBreaker."""

from fpga.board import Board, Flash, Pin
from rtl.technology import Technology

BOARD = Board(
    name="icebreaker", title="iCEBreaker", family=Technology.ICE40, device="up5k", package="sg48",
    preset="icebreaker", model="fables80k",
    clock=Pin(name="35"), clock_mhz=12.0, core_mhz=24.0,
    rx=Pin(name="6", pull="up"), tx=Pin(name="9"), baud=1_000_000,
    button=Pin(name="10", low=True, pull="up"),
    leds=(Pin(name="11", low=True), Pin(name="37", low=True)),  # red, green
    flash=Flash(select=Pin(name="16", low=True), clock=Pin(name="15"), out=Pin(name="14"), into=Pin(name="17"),
                size=16 << 20, free=1 << 20),
    # An iCE40 behind an FT2232 like many others; there is no way around the flash as the board leaves the factory.
    programmer="ice40_generic", volatile=False,
    sources=("icebreaker-verilog-examples, icebreaker/icebreaker.pcf", "amaranth-boards, amaranth_boards/icebreaker.py",
             "litex-boards, litex_boards/platforms/1bitsquared_icebreaker.py"))
