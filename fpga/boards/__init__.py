"""One file a board, each with a `BOARD`: facts only. `fpga.board` finds them by their names."""
