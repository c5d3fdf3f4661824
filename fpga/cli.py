"""The `lpu` command with the boards: the commands of `sim.cli`, and those that need an FPGA."""

from __future__ import annotations

import sim.cli
from fpga.commands.build import build_command, synth_command
from fpga.commands.program import program_command

COMMANDS = {"build": build_command, "synth": synth_command, "program": program_command}
for name, command in COMMANDS.items():
    sim.cli.app.command(name)(command)


def main() -> None:
    """Entry point."""
    sim.cli.main()


if __name__ == "__main__":
    main()
