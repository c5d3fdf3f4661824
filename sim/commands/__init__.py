"""The subcommands of `lpu`, a file each; `sim.cli` gathers them."""
