"""The `lpu` command with the boards: the devices and commands of `sim.cli`, and those that need an FPGA."""

from __future__ import annotations

import sim.cli
from fpga.board import board, board_names
from fpga.commands.boards import boards_command
from fpga.commands.build import build_command, synth_command
from fpga.commands.gates import gates_command
from fpga.commands.program import program_command
from fpga.device import register
from fpga.link.host import LinkError
from sim.driver import BankError, ProtocolError

COMMANDS = {
    "boards": boards_command, "build": build_command, "synth": synth_command, "program": program_command,
    "gates": gates_command}
for name, command in COMMANDS.items():
    sim.cli.app.command(name)(command)
register([board(name) for name in board_names()])


def main() -> None:
    """Entry point."""
    sim.cli.main(failures=(LinkError, ProtocolError, BankError))


if __name__ == "__main__":
    main()
