// GW2A primitives that yosys ships as black boxes, written from Gowin's UG285 (BSRAM), UG287 (DSP) and SUG283
// (primitives), and from how yosys's maps of $__GOWIN_SP_, $__GOWIN_SDP_, $__GOWIN_DP_ and $__MUL9X9 drive them.
// MUX2_LUT5 to MUX2_LUT8, ALU, flip-flops, RAM16SDP and buffers come with yosys. Needs block_ram.v.
//
// What is not modelled is an error: a parameter or a pin that is missing here stops the elaboration, so does a value
// of a parameter that names a mode that is missing.
//
// All block RAMs: BIT_WIDTH 1, 2, 4, 8, 16 (and 32 unless both ports write and read) without, 9, 18 (36) with the
// ninth bits; an address counts bits, words of several bytes are enabled byte by byte by the lowest address bits.
// READ_MODE 1: a register behind the output, enabled by OCE. WRITE_MODE, the output while its port writes: 0 stays, 1
// is the new word, 2 the old one. RESET_MODE SYNC or ASYNC: outputs go to zero, whatever the enables are. BLK_SEL: the
// value of BLKSEL that selects the port. INIT_RAM_00 to _3F: contents, byte 0 lowest.

`define GOWIN_INIT_PARAMETERS \
    INIT_RAM_00 = 0, INIT_RAM_01 = 0, INIT_RAM_02 = 0, INIT_RAM_03 = 0, INIT_RAM_04 = 0, INIT_RAM_05 = 0, \
    INIT_RAM_06 = 0, INIT_RAM_07 = 0, INIT_RAM_08 = 0, INIT_RAM_09 = 0, INIT_RAM_0A = 0, INIT_RAM_0B = 0, \
    INIT_RAM_0C = 0, INIT_RAM_0D = 0, INIT_RAM_0E = 0, INIT_RAM_0F = 0, INIT_RAM_10 = 0, INIT_RAM_11 = 0, \
    INIT_RAM_12 = 0, INIT_RAM_13 = 0, INIT_RAM_14 = 0, INIT_RAM_15 = 0, INIT_RAM_16 = 0, INIT_RAM_17 = 0, \
    INIT_RAM_18 = 0, INIT_RAM_19 = 0, INIT_RAM_1A = 0, INIT_RAM_1B = 0, INIT_RAM_1C = 0, INIT_RAM_1D = 0, \
    INIT_RAM_1E = 0, INIT_RAM_1F = 0, INIT_RAM_20 = 0, INIT_RAM_21 = 0, INIT_RAM_22 = 0, INIT_RAM_23 = 0, \
    INIT_RAM_24 = 0, INIT_RAM_25 = 0, INIT_RAM_26 = 0, INIT_RAM_27 = 0, INIT_RAM_28 = 0, INIT_RAM_29 = 0, \
    INIT_RAM_2A = 0, INIT_RAM_2B = 0, INIT_RAM_2C = 0, INIT_RAM_2D = 0, INIT_RAM_2E = 0, INIT_RAM_2F = 0, \
    INIT_RAM_30 = 0, INIT_RAM_31 = 0, INIT_RAM_32 = 0, INIT_RAM_33 = 0, INIT_RAM_34 = 0, INIT_RAM_35 = 0, \
    INIT_RAM_36 = 0, INIT_RAM_37 = 0, INIT_RAM_38 = 0, INIT_RAM_39 = 0, INIT_RAM_3A = 0, INIT_RAM_3B = 0, \
    INIT_RAM_3C = 0, INIT_RAM_3D = 0, INIT_RAM_3E = 0, INIT_RAM_3F = 0
`define GOWIN_INIT_VALUES \
    INIT_RAM_3F, INIT_RAM_3E, INIT_RAM_3D, INIT_RAM_3C, INIT_RAM_3B, INIT_RAM_3A, \
    INIT_RAM_39, INIT_RAM_38, INIT_RAM_37, INIT_RAM_36, INIT_RAM_35, INIT_RAM_34, \
    INIT_RAM_33, INIT_RAM_32, INIT_RAM_31, INIT_RAM_30, INIT_RAM_2F, INIT_RAM_2E, \
    INIT_RAM_2D, INIT_RAM_2C, INIT_RAM_2B, INIT_RAM_2A, INIT_RAM_29, INIT_RAM_28, \
    INIT_RAM_27, INIT_RAM_26, INIT_RAM_25, INIT_RAM_24, INIT_RAM_23, INIT_RAM_22, \
    INIT_RAM_21, INIT_RAM_20, INIT_RAM_1F, INIT_RAM_1E, INIT_RAM_1D, INIT_RAM_1C, \
    INIT_RAM_1B, INIT_RAM_1A, INIT_RAM_19, INIT_RAM_18, INIT_RAM_17, INIT_RAM_16, \
    INIT_RAM_15, INIT_RAM_14, INIT_RAM_13, INIT_RAM_12, INIT_RAM_11, INIT_RAM_10, \
    INIT_RAM_0F, INIT_RAM_0E, INIT_RAM_0D, INIT_RAM_0C, INIT_RAM_0B, INIT_RAM_0A, \
    INIT_RAM_09, INIT_RAM_08, INIT_RAM_07, INIT_RAM_06, INIT_RAM_05, INIT_RAM_04, \
    INIT_RAM_03, INIT_RAM_02, INIT_RAM_01, INIT_RAM_00

// One port.
module SP #(
    parameter READ_MODE = 1'b0, WRITE_MODE = 2'b00, BIT_WIDTH = 32, BLK_SEL = 3'b000, RESET_MODE = "SYNC",
    parameter [255:0] `GOWIN_INIT_PARAMETERS
) (
    input         CLK, CE, OCE, WRE, RESET,
    input  [2:0]  BLKSEL,
    input  [13:0] AD,
    input  [31:0] DI,
    output [31:0] DO
);
    generate
        if (RESET_MODE != "SYNC" && RESET_MODE != "ASYNC")
            SP_has_no_such_reset_mode not_modelled();
        if (WRITE_MODE > 2)
            SP_has_no_such_write_mode not_modelled();
    endgenerate

    wire [35:0] out;
    assign DO = out[31:0];
    block_ram #(
        .BYTE(8), .WIDTH_A(BIT_WIDTH), .WIDTH_B(BIT_WIDTH), .SHOWS_A(WRITE_MODE), .REGISTER_A(READ_MODE),
        .ASYNC_RESET(RESET_MODE == "ASYNC"), .INIT({`GOWIN_INIT_VALUES})
    ) ram (
        .clk_a(CLK), .enable_a(CE && BLKSEL == BLK_SEL), .write_a(WRE), .reset_a(RESET), .register_enable_a(OCE),
        .address_a(AD), .in_a(36'(DI)), .out_a(out),
        .clk_b(1'b0), .enable_b(1'b0), .write_b(1'b0), .reset_b(1'b0), .register_enable_b(1'b0),
        .address_b(14'b0), .in_b(36'b0), .out_b());
endmodule

// One port, with ninth bits.
module SPX9 #(
    parameter READ_MODE = 1'b0, WRITE_MODE = 2'b00, BIT_WIDTH = 36, BLK_SEL = 3'b000, RESET_MODE = "SYNC",
    parameter [287:0] `GOWIN_INIT_PARAMETERS
) (
    input         CLK, CE, OCE, WRE, RESET,
    input  [2:0]  BLKSEL,
    input  [13:0] AD,
    input  [35:0] DI,
    output [35:0] DO
);
    generate
        if (RESET_MODE != "SYNC" && RESET_MODE != "ASYNC")
            SPX9_has_no_such_reset_mode not_modelled();
        if (WRITE_MODE > 2)
            SPX9_has_no_such_write_mode not_modelled();
    endgenerate

    wire [35:0] out;
    assign DO = out[35:0];
    block_ram #(
        .BYTE(9), .WIDTH_A(BIT_WIDTH), .WIDTH_B(BIT_WIDTH), .SHOWS_A(WRITE_MODE), .REGISTER_A(READ_MODE),
        .ASYNC_RESET(RESET_MODE == "ASYNC"), .INIT({`GOWIN_INIT_VALUES})
    ) ram (
        .clk_a(CLK), .enable_a(CE && BLKSEL == BLK_SEL), .write_a(WRE), .reset_a(RESET), .register_enable_a(OCE),
        .address_a(AD), .in_a(36'(DI)), .out_a(out),
        .clk_b(1'b0), .enable_b(1'b0), .write_b(1'b0), .reset_b(1'b0), .register_enable_b(1'b0),
        .address_b(14'b0), .in_b(36'b0), .out_b());
endmodule

// A writes, whenever it is enabled; B reads.
module SDPB #(
    parameter READ_MODE = 1'b0, BIT_WIDTH_0 = 32, BIT_WIDTH_1 = 32, BLK_SEL_0 = 3'b000, BLK_SEL_1 = 3'b000,
    parameter RESET_MODE = "SYNC",
    parameter [255:0] `GOWIN_INIT_PARAMETERS
) (
    input         CLKA, CEA, CLKB, CEB, OCE, RESETA, RESETB,
    input  [2:0]  BLKSELA, BLKSELB,
    input  [13:0] ADA, ADB,
    input  [31:0] DI,
    output [31:0] DO
);
    generate
        if (RESET_MODE != "SYNC" && RESET_MODE != "ASYNC")
            SDPB_has_no_such_reset_mode not_modelled();
    endgenerate

    wire [35:0] out;
    assign DO = out[31:0];
    block_ram #(
        .BYTE(8), .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), .REGISTER_B(READ_MODE),
        .ASYNC_RESET(RESET_MODE == "ASYNC"), .INIT({`GOWIN_INIT_VALUES})
    ) ram (
        .clk_a(CLKA), .enable_a(CEA && BLKSELA == BLK_SEL_0), .write_a(1'b1), .reset_a(RESETA),
        .register_enable_a(1'b0),
        .address_a(ADA), .in_a(36'(DI)), .out_a(),
        .clk_b(CLKB), .enable_b(CEB && BLKSELB == BLK_SEL_1), .write_b(1'b0), .reset_b(RESETB), .register_enable_b(OCE),
        .address_b(ADB), .in_b(36'b0), .out_b(out));
endmodule

// A writes, whenever it is enabled; B reads. With ninth bits.
module SDPX9B #(
    parameter READ_MODE = 1'b0, BIT_WIDTH_0 = 36, BIT_WIDTH_1 = 36, BLK_SEL_0 = 3'b000, BLK_SEL_1 = 3'b000,
    parameter RESET_MODE = "SYNC",
    parameter [287:0] `GOWIN_INIT_PARAMETERS
) (
    input         CLKA, CEA, CLKB, CEB, OCE, RESETA, RESETB,
    input  [2:0]  BLKSELA, BLKSELB,
    input  [13:0] ADA, ADB,
    input  [35:0] DI,
    output [35:0] DO
);
    generate
        if (RESET_MODE != "SYNC" && RESET_MODE != "ASYNC")
            SDPX9B_has_no_such_reset_mode not_modelled();
    endgenerate

    wire [35:0] out;
    assign DO = out[35:0];
    block_ram #(
        .BYTE(9), .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), .REGISTER_B(READ_MODE),
        .ASYNC_RESET(RESET_MODE == "ASYNC"), .INIT({`GOWIN_INIT_VALUES})
    ) ram (
        .clk_a(CLKA), .enable_a(CEA && BLKSELA == BLK_SEL_0), .write_a(1'b1), .reset_a(RESETA),
        .register_enable_a(1'b0),
        .address_a(ADA), .in_a(36'(DI)), .out_a(),
        .clk_b(CLKB), .enable_b(CEB && BLKSELB == BLK_SEL_1), .write_b(1'b0), .reset_b(RESETB), .register_enable_b(OCE),
        .address_b(ADB), .in_b(36'b0), .out_b(out));
endmodule

// Two ports that write and read.
module DPB #(
    parameter READ_MODE0 = 1'b0, READ_MODE1 = 1'b0, WRITE_MODE0 = 2'b00, WRITE_MODE1 = 2'b00,
    parameter BIT_WIDTH_0 = 16, BIT_WIDTH_1 = 16, BLK_SEL_0 = 3'b000, BLK_SEL_1 = 3'b000, RESET_MODE = "SYNC",
    parameter [255:0] `GOWIN_INIT_PARAMETERS
) (
    input         CLKA, CEA, OCEA, WREA, RESETA, CLKB, CEB, OCEB, WREB, RESETB,
    input  [2:0]  BLKSELA, BLKSELB,
    input  [13:0] ADA, ADB,
    input  [15:0] DIA, DIB,
    output [15:0] DOA, DOB
);
    generate
        if (RESET_MODE != "SYNC" && RESET_MODE != "ASYNC")
            DPB_has_no_such_reset_mode not_modelled();
        if (WRITE_MODE0 > 1 || WRITE_MODE1 > 1)
            DPB_has_no_such_write_mode not_modelled();
        if (BIT_WIDTH_0 > 16 || BIT_WIDTH_1 > 16)
            DPB_has_no_such_width not_modelled();
    endgenerate

    wire [35:0] out_a, out_b;
    assign DOA = out_a[15:0];
    assign DOB = out_b[15:0];
    block_ram #(
        .BYTE(8), .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), .SHOWS_A(WRITE_MODE0), .SHOWS_B(WRITE_MODE1),
        .REGISTER_A(READ_MODE0), .REGISTER_B(READ_MODE1), .ASYNC_RESET(RESET_MODE == "ASYNC"),
        .INIT({`GOWIN_INIT_VALUES})
    ) ram (
        .clk_a(CLKA), .enable_a(CEA && BLKSELA == BLK_SEL_0), .write_a(WREA), .reset_a(RESETA),
        .register_enable_a(OCEA),
        .address_a(ADA), .in_a(36'(DIA)), .out_a(out_a),
        .clk_b(CLKB), .enable_b(CEB && BLKSELB == BLK_SEL_1), .write_b(WREB), .reset_b(RESETB),
        .register_enable_b(OCEB),
        .address_b(ADB), .in_b(36'(DIB)), .out_b(out_b));
endmodule

// Two ports that write and read, with ninth bits.
module DPX9B #(
    parameter READ_MODE0 = 1'b0, READ_MODE1 = 1'b0, WRITE_MODE0 = 2'b00, WRITE_MODE1 = 2'b00,
    parameter BIT_WIDTH_0 = 18, BIT_WIDTH_1 = 18, BLK_SEL_0 = 3'b000, BLK_SEL_1 = 3'b000, RESET_MODE = "SYNC",
    parameter [287:0] `GOWIN_INIT_PARAMETERS
) (
    input         CLKA, CEA, OCEA, WREA, RESETA, CLKB, CEB, OCEB, WREB, RESETB,
    input  [2:0]  BLKSELA, BLKSELB,
    input  [13:0] ADA, ADB,
    input  [17:0] DIA, DIB,
    output [17:0] DOA, DOB
);
    generate
        if (RESET_MODE != "SYNC" && RESET_MODE != "ASYNC")
            DPX9B_has_no_such_reset_mode not_modelled();
        if (WRITE_MODE0 > 1 || WRITE_MODE1 > 1)
            DPX9B_has_no_such_write_mode not_modelled();
        if (BIT_WIDTH_0 > 18 || BIT_WIDTH_1 > 18)
            DPX9B_has_no_such_width not_modelled();
    endgenerate

    wire [35:0] out_a, out_b;
    assign DOA = out_a[17:0];
    assign DOB = out_b[17:0];
    block_ram #(
        .BYTE(9), .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), .SHOWS_A(WRITE_MODE0), .SHOWS_B(WRITE_MODE1),
        .REGISTER_A(READ_MODE0), .REGISTER_B(READ_MODE1), .ASYNC_RESET(RESET_MODE == "ASYNC"),
        .INIT({`GOWIN_INIT_VALUES})
    ) ram (
        .clk_a(CLKA), .enable_a(CEA && BLKSELA == BLK_SEL_0), .write_a(WREA), .reset_a(RESETA),
        .register_enable_a(OCEA),
        .address_a(ADA), .in_a(36'(DIA)), .out_a(out_a),
        .clk_b(CLKB), .enable_b(CEB && BLKSELB == BLK_SEL_1), .write_b(WREB), .reset_b(RESETB),
        .register_enable_b(OCEB),
        .address_b(ADB), .in_b(36'(DIB)), .out_b(out_b));
endmodule

// All multipliers: ASIGN and BSIGN tell whether an operand is signed. AREG, BREG, ASIGN_REG, BSIGN_REG, PIPE_REG,
// OUT_REG: registers at the inputs, behind the multiplier and at the output, all on CLK, enabled by CE, reset by RESET
// in MULT_RESET_MODE SYNC (needs no enable) or ASYNC. Chains (ASEL or BSEL high, SOA, SOB) are not modelled: the
// product is then inverted, and pins SOA and SOB do not exist.

// A 9 x 9 multiplier.
module MULT9X9 #(
    parameter AREG = 1'b0, BREG = 1'b0, OUT_REG = 1'b0, PIPE_REG = 1'b0, ASIGN_REG = 1'b0, BSIGN_REG = 1'b0,
    parameter SOA_REG = 1'b0, MULT_RESET_MODE = "SYNC"
) (
    input  [8:0]  A, SIA, B, SIB,
    input         ASIGN, BSIGN, ASEL, BSEL, CE, CLK, RESET,
    output [17:0] DOUT
);
    gowin_multiplier #(
        .WIDTH(9), .AREG(AREG), .BREG(BREG), .OUT_REG(OUT_REG), .PIPE_REG(PIPE_REG), .ASIGN_REG(ASIGN_REG),
        .BSIGN_REG(BSIGN_REG), .MULT_RESET_MODE(MULT_RESET_MODE)
    ) multiplier (
        .a(A), .b(B), .signed_a(ASIGN), .signed_b(BSIGN), .chained(ASEL || BSEL), .enable(CE), .clk(CLK), .reset(RESET),
        .out(DOUT));
endmodule

// An 18 x 18 multiplier.
module MULT18X18 #(
    parameter AREG = 1'b0, BREG = 1'b0, OUT_REG = 1'b0, PIPE_REG = 1'b0, ASIGN_REG = 1'b0, BSIGN_REG = 1'b0,
    parameter SOA_REG = 1'b0, MULT_RESET_MODE = "SYNC"
) (
    input  [17:0]  A, SIA, B, SIB,
    input         ASIGN, BSIGN, ASEL, BSEL, CE, CLK, RESET,
    output [35:0] DOUT
);
    gowin_multiplier #(
        .WIDTH(18), .AREG(AREG), .BREG(BREG), .OUT_REG(OUT_REG), .PIPE_REG(PIPE_REG), .ASIGN_REG(ASIGN_REG),
        .BSIGN_REG(BSIGN_REG), .MULT_RESET_MODE(MULT_RESET_MODE)
    ) multiplier (
        .a(A), .b(B), .signed_a(ASIGN), .signed_b(BSIGN), .chained(ASEL || BSEL), .enable(CE), .clk(CLK), .reset(RESET),
        .out(DOUT));
endmodule

// What both have inside.
module gowin_multiplier #(
    parameter WIDTH = 18, AREG = 0, BREG = 0, OUT_REG = 0, PIPE_REG = 0, ASIGN_REG = 0, BSIGN_REG = 0,
    parameter MULT_RESET_MODE = "SYNC"
) (
    input  [WIDTH-1:0]   a, b,
    input                signed_a, signed_b, chained, enable, clk, reset,
    output [2*WIDTH-1:0] out
);
    generate
        if (MULT_RESET_MODE != "SYNC" && MULT_RESET_MODE != "ASYNC")
            gowin_multiplier_has_no_such_reset_mode not_modelled();
    endgenerate
    localparam ASYNC = MULT_RESET_MODE == "ASYNC";

    wire [WIDTH-1:0] a_1, b_1;
    wire signed_a_1, signed_b_1;
    wire [2*WIDTH-1:0] product, result;
    gowin_register #(.WIDTH(WIDTH), .PRESENT(AREG), .ASYNC_RESET(ASYNC)) register_a (.clk, .enable, .reset, .d(a),
        .q(a_1));
    gowin_register #(.WIDTH(WIDTH), .PRESENT(BREG), .ASYNC_RESET(ASYNC)) register_b (.clk, .enable, .reset, .d(b),
        .q(b_1));
    gowin_register #(.WIDTH(1), .PRESENT(ASIGN_REG), .ASYNC_RESET(ASYNC)) register_signed_a (
        .clk, .enable, .reset, .d(signed_a), .q(signed_a_1));
    gowin_register #(.WIDTH(1), .PRESENT(BSIGN_REG), .ASYNC_RESET(ASYNC)) register_signed_b (
        .clk, .enable, .reset, .d(signed_b), .q(signed_b_1));
    wire signed [WIDTH:0] wide_a = {signed_a_1 && a_1[WIDTH-1], a_1};
    wire signed [WIDTH:0] wide_b = {signed_b_1 && b_1[WIDTH-1], b_1};
    wire signed [2*WIDTH+1:0] exact = wide_a * wide_b;
    gowin_register #(.WIDTH(2 * WIDTH), .PRESENT(PIPE_REG), .ASYNC_RESET(ASYNC)) register_pipe (
        .clk, .enable, .reset, .d(exact[2*WIDTH-1:0]), .q(product));
    gowin_register #(.WIDTH(2 * WIDTH), .PRESENT(OUT_REG), .ASYNC_RESET(ASYNC)) register_out (
        .clk, .enable, .reset, .d(product), .q(result));
    assign out = chained ? ~result : result;
endmodule

// A register, or none.
module gowin_register #(
    parameter WIDTH = 1, PRESENT = 1, ASYNC_RESET = 0
) (
    input              clk, enable, reset,
    input  [WIDTH-1:0] d,
    output [WIDTH-1:0] q
);
    generate
        if (!PRESENT) begin : through
            assign q = d;
        end else begin : held
            reg [WIDTH-1:0] value = 0;
            assign q = value;
            if (ASYNC_RESET) begin : asynchronous
                always @(posedge clk or posedge reset)
                    if (reset) value <= 0;
                    else if (enable) value <= d;
            end else begin : synchronous
                always @(posedge clk)
                    if (reset) value <= 0;
                    else if (enable) value <= d;
            end
        end
    endgenerate
endmodule

// A look-up table of one input. yosys ships it as a tree of multiplexers, over which C++ compilers take minutes.
module LUT1(input I0, output F);
    parameter [1:0] INIT = 0;
    wire [1:0] chosen = INIT >> {I0};
    assign F = chosen[0];
endmodule

// A look-up table of two inputs. yosys ships it as a tree of multiplexers, over which C++ compilers take minutes.
module LUT2(input I0, I1, output F);
    parameter [3:0] INIT = 0;
    wire [3:0] chosen = INIT >> {I1, I0};
    assign F = chosen[0];
endmodule

// A look-up table of three inputs. yosys ships it as a tree of multiplexers, over which C++ compilers take minutes.
module LUT3(input I0, I1, I2, output F);
    parameter [7:0] INIT = 0;
    wire [7:0] chosen = INIT >> {I2, I1, I0};
    assign F = chosen[0];
endmodule

// A look-up table of four inputs. yosys ships it as a tree of multiplexers, over which C++ compilers take minutes.
module LUT4(input I0, I1, I2, I3, output F);
    parameter [15:0] INIT = 0;
    wire [15:0] chosen = INIT >> {I3, I2, I1, I0};
    assign F = chosen[0];
endmodule
