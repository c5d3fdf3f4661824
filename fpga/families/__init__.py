"""What differs between the families of FPGAs, a file each; `fpga.family` says what a family must offer."""
