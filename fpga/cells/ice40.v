// iCE40 primitives. All others come with yosys.

// A look-up table of four inputs. yosys ships it as a tree of multiplexers, over which C++ compilers take minutes.
module SB_LUT4(input I0, I1, I2, I3, output O);
    parameter [15:0] LUT_INIT = 0;
    wire [15:0] chosen = LUT_INIT >> {I3, I2, I1, I0};
    assign O = chosen[0];
endmodule
