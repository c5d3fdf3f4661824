"""Sipeed Tang Nano 20K."""

from fpga.board import Board, Flash, Pin
from rtl.technology import Technology

BOARD = Board(
    name="tangnano20k", title="Tang Nano 20K", family=Technology.GOWIN, device="GW2A-18C",
    package="GW2AR-LV18QN88C8/I7", preset="tangnano20k", model="fables43k",
    clock=Pin(name="4"), clock_mhz=27.0, core_mhz=27.0,
    rx=Pin(name="70", pull="up"), tx=Pin(name="69"), baud=1_000_000,
    button=Pin(name="88", pull="down"),  # S1; high when pressed
    leds=tuple(Pin(name=name, low=True) for name in ("15", "16", "17", "18", "19", "20")),
    flash=Flash(select=Pin(name="60", low=True), clock=Pin(name="59"), out=Pin(name="61"), into=Pin(name="62"),
                size=8 << 20, free=2 << 20),
    programmer="tangnano20k",
    # The first has all pins; each pin is in one of the others too.
    sources=("litex-boards, litex_boards/platforms/sipeed_tang_nano_20k.py",
             "freand76/tangnano20k-picorv32, tangnano20k.cst",
             "sipeed/TangNano-20K-example, picorv32/src/fpga_project.cst and led/flow_led/src/flow_led.cst",
             "apicula, examples/himbaechel/tangnano20k.cst"))
