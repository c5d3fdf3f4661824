"""The subcommands of `lpu` that concern boards, a file each; `fpga.cli` gathers them."""
