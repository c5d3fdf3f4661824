// ECP5 primitives that yosys ships as black boxes, written from Lattice's TN1264 (memory) and TN1267 (sysDSP), and
// from how the open tools drive them: yosys's maps of $__DP16KD_, $__PDPW16KD_ and $__MUL18X18, nextpnr's renaming of
// PDPW16KD's pins. PFUMX, L6MUX21, CCU2C, TRELLIS_FF and TRELLIS_DPR16X4 come with yosys. Needs block_ram.v.
//
// What is not modelled is an error: a parameter or a pin that is missing here stops the elaboration, so does a value
// of a parameter that names a mode that is missing. GSR is accepted and ignored, as nothing drives the global set and
// reset.

// 18 kilobits of block RAM.
//
// DATA_WIDTH_A, _B   1, 2, 4, 9, 18; an address counts bits, words of 18 are enabled byte by byte by address bits 1 and
//                    0. 36 on A makes a memory that A writes and B reads: bytes are enabled by ADA3 to ADA0, a word is
//                    {DIB, DIA}, and it is read as {DOB, DOA}, or on DOB alone where B is narrower.
// WRITEMODE_A, _B    the output while its port writes: NORMAL keeps it, WRITETHROUGH shows the new word,
//                    READBEFOREWRITE the old one.
// REGMODE_A, _B      NOREG, or OUTREG: a register behind the output, enabled by OCE.
// RESETMODE          SYNC or ASYNC: outputs go to zero, whatever the enables are. A synchronous reset also stops
//                    writes.
// CSDECODE_A, _B     the value of CS2 to CS0 that selects the port, as text: "0b000".
// CLKAMUX, CLKBMUX   CLKA, CLKB, or INV for the falling edge.
// INITVAL_00 to _3F  contents: 16 words of 18 bits each, 20 bits apart.
module DP16KD #(
    parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18,
    parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG",
    parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC",
    parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000",
    parameter WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL",
    parameter CLKAMUX = "CLKA", CLKBMUX = "CLKB",
    parameter GSR = "ENABLED", INIT_DATA = "STATIC",
    parameter [319:0]
        INITVAL_00 = 0, INITVAL_01 = 0, INITVAL_02 = 0, INITVAL_03 = 0, INITVAL_04 = 0, INITVAL_05 = 0,
        INITVAL_06 = 0, INITVAL_07 = 0, INITVAL_08 = 0, INITVAL_09 = 0, INITVAL_0A = 0, INITVAL_0B = 0,
        INITVAL_0C = 0, INITVAL_0D = 0, INITVAL_0E = 0, INITVAL_0F = 0, INITVAL_10 = 0, INITVAL_11 = 0,
        INITVAL_12 = 0, INITVAL_13 = 0, INITVAL_14 = 0, INITVAL_15 = 0, INITVAL_16 = 0, INITVAL_17 = 0,
        INITVAL_18 = 0, INITVAL_19 = 0, INITVAL_1A = 0, INITVAL_1B = 0, INITVAL_1C = 0, INITVAL_1D = 0,
        INITVAL_1E = 0, INITVAL_1F = 0, INITVAL_20 = 0, INITVAL_21 = 0, INITVAL_22 = 0, INITVAL_23 = 0,
        INITVAL_24 = 0, INITVAL_25 = 0, INITVAL_26 = 0, INITVAL_27 = 0, INITVAL_28 = 0, INITVAL_29 = 0,
        INITVAL_2A = 0, INITVAL_2B = 0, INITVAL_2C = 0, INITVAL_2D = 0, INITVAL_2E = 0, INITVAL_2F = 0,
        INITVAL_30 = 0, INITVAL_31 = 0, INITVAL_32 = 0, INITVAL_33 = 0, INITVAL_34 = 0, INITVAL_35 = 0,
        INITVAL_36 = 0, INITVAL_37 = 0, INITVAL_38 = 0, INITVAL_39 = 0, INITVAL_3A = 0, INITVAL_3B = 0,
        INITVAL_3C = 0, INITVAL_3D = 0, INITVAL_3E = 0, INITVAL_3F = 0
) (
    input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1,
        DIA0,
    input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
    input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
    output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2,
        DOA1, DOA0,
    input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1,
        DIB0,
    input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
    input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
    output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2,
        DOB1, DOB0
);
    localparam PSEUDO = DATA_WIDTH_A == 36;
    localparam ASYNC = RESETMODE == "ASYNC";

    generate
        if (DATA_WIDTH_B == 36 && !PSEUDO)
            DP16KD_writes_36_bits_on_port_a_alone not_modelled();
        if (WRITEMODE_A != "NORMAL" && WRITEMODE_A != "WRITETHROUGH" && WRITEMODE_A != "READBEFOREWRITE")
            DP16KD_has_no_such_writemode_a not_modelled();
        if (WRITEMODE_B != "NORMAL" && WRITEMODE_B != "WRITETHROUGH" && WRITEMODE_B != "READBEFOREWRITE")
            DP16KD_has_no_such_writemode_b not_modelled();
        if (REGMODE_A != "NOREG" && REGMODE_A != "OUTREG")
            DP16KD_has_no_such_regmode_a not_modelled();
        if (REGMODE_B != "NOREG" && REGMODE_B != "OUTREG")
            DP16KD_has_no_such_regmode_b not_modelled();
        if (RESETMODE != "SYNC" && RESETMODE != "ASYNC")
            DP16KD_has_no_such_resetmode not_modelled();
        if (CLKAMUX != "CLKA" && CLKAMUX != "INV")
            DP16KD_has_no_such_clkamux not_modelled();
        if (CLKBMUX != "CLKB" && CLKBMUX != "INV")
            DP16KD_has_no_such_clkbmux not_modelled();
        if (INIT_DATA != "STATIC")
            DP16KD_has_no_such_init_data not_modelled();
    endgenerate

    // "0b" and three digits.
    function [2:0] selecting(input [39:0] text);
        selecting = {text[16], text[8], text[0]};
    endfunction

    localparam [20479:0] INITVAL = {
        INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A,
        INITVAL_39, INITVAL_38, INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34,
        INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30, INITVAL_2F, INITVAL_2E,
        INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28,
        INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22,
        INITVAL_21, INITVAL_20, INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C,
        INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18, INITVAL_17, INITVAL_16,
        INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10,
        INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A,
        INITVAL_09, INITVAL_08, INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04,
        INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00};

    // Words of 18 bits without the two unused bits between them.
    function [18431:0] contents(input [20479:0] apart);
        integer word;
        for (word = 0; word < 1024; word = word + 1)
            contents[18 * word +: 18] = apart[20 * word +: 18];
    endfunction

    wire [17:0] dia = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4,
        DIA3, DIA2, DIA1, DIA0};
    wire [17:0] dib = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4,
        DIB3, DIB2, DIB1, DIB0};
    wire [13:0] ada = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
    wire [13:0] adb = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
    wire [35:0] doa, dob;
    wire selected_a = {CSA2, CSA1, CSA0} == selecting(CSDECODE_A);
    wire selected_b = {CSB2, CSB1, CSB0} == selecting(CSDECODE_B);

    block_ram #(
        .BYTE(9), .WIDTH_A(DATA_WIDTH_A), .WIDTH_B(DATA_WIDTH_B),
        .SHOWS_A(WRITEMODE_A == "WRITETHROUGH" ? 1 : WRITEMODE_A == "READBEFOREWRITE" ? 2 : 0),
        .SHOWS_B(WRITEMODE_B == "WRITETHROUGH" ? 1 : WRITEMODE_B == "READBEFOREWRITE" ? 2 : 0),
        .REGISTER_A(REGMODE_A == "OUTREG"), .REGISTER_B(REGMODE_B == "OUTREG"),
        .ASYNC_RESET(ASYNC), .INIT(contents(INITVAL))
    ) ram (
        .clk_a(CLKAMUX == "INV" ? !CLKA : CLKA), .enable_a(CEA && selected_a), .write_a(WEA && (ASYNC || !RSTA)),
        .reset_a(RSTA), .register_enable_a(OCEA), .address_a(ada), .in_a({PSEUDO ? dib : 18'b0, dia}), .out_a(doa),
        .clk_b(CLKBMUX == "INV" ? !CLKB : CLKB), .enable_b(CEB && selected_b), .write_b(WEB && (ASYNC || !RSTB)),
        .reset_b(RSTB), .register_enable_b(OCEB), .address_b(adb), .in_b({18'b0, dib}), .out_b(dob));

    assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2,
        DOA1, DOA0} =
        DATA_WIDTH_B == 36 ? dob[17:0] : PSEUDO ? 18'b0 : doa[17:0];
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2,
        DOB1, DOB0} =
        DATA_WIDTH_B == 36 ? dob[35:18] : dob[17:0];
endmodule

// An 18 x 18 multiplier.
//
// SIGNEDA, SIGNEDB   whether an operand is signed; they pass the registers that their operands pass.
// REG_INPUTA_CLK, REG_INPUTB_CLK, REG_PIPELINE_CLK, REG_OUTPUT_CLK
//                    NONE: no register; CLK0 to CLK3: a register on that clock, enabled and reset by what
//                    the parameters REG_..._CE (CE0 to CE3) and REG_..._RST (RST0 to RST3) name.
// RESETMODE          SYNC (needs no enable) or ASYNC.
// SOURCEA, SOURCEB   0 for A and B. Chains through SRIA and SRIB are not modelled: the product is then inverted.
module MULT18X18D #(
    parameter REG_INPUTA_CLK = "NONE", REG_INPUTA_CE = "CE0", REG_INPUTA_RST = "RST0",
    parameter REG_INPUTB_CLK = "NONE", REG_INPUTB_CE = "CE0", REG_INPUTB_RST = "RST0",
    parameter REG_PIPELINE_CLK = "NONE", REG_PIPELINE_CE = "CE0", REG_PIPELINE_RST = "RST0",
    parameter REG_OUTPUT_CLK = "NONE", REG_OUTPUT_CE = "CE0", REG_OUTPUT_RST = "RST0",
    parameter GSR = "ENABLED", RESETMODE = "SYNC", MULT_BYPASS = "DISABLED", CAS_MATCH_REG = "FALSE",
    parameter SOURCEB_MODE = "B_SHIFT", HIGHSPEED_CLK = "NONE",
    parameter CLK0_DIV = "ENABLED", CLK1_DIV = "ENABLED", CLK2_DIV = "ENABLED", CLK3_DIV = "ENABLED"
) (
    input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    input CLK3, CLK2, CLK1, CLK0, CE3, CE2, CE1, CE0, RST3, RST2, RST1, RST0,
    output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
        P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
    generate
        if (MULT_BYPASS != "DISABLED")
            MULT18X18D_without_multiplying not_modelled();
        if (CAS_MATCH_REG != "FALSE" || SOURCEB_MODE != "B_SHIFT")
            MULT18X18D_in_a_cascade not_modelled();
        if (HIGHSPEED_CLK != "NONE")
            MULT18X18D_with_a_highspeed_clock not_modelled();
        if (RESETMODE != "SYNC" && RESETMODE != "ASYNC")
            MULT18X18D_has_no_such_resetmode not_modelled();
    endgenerate

    wire [3:0] clocks = {CLK3, CLK2, CLK1, CLK0}, enables = {CE3, CE2, CE1, CE0}, resets = {RST3, RST2, RST1, RST0};
    wire [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
    wire [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
    wire [18:0] wide_a, wide_b;
    wire [35:0] product, out;

    mult18x18d_register #(
        .WIDTH(19), .CLOCK(REG_INPUTA_CLK), .ENABLE(REG_INPUTA_CE), .RESET(REG_INPUTA_RST), .RESETMODE(RESETMODE)
    ) input_a (.clocks, .enables, .resets, .d({SIGNEDA && A17, a}), .q(wide_a));
    mult18x18d_register #(
        .WIDTH(19), .CLOCK(REG_INPUTB_CLK), .ENABLE(REG_INPUTB_CE), .RESET(REG_INPUTB_RST), .RESETMODE(RESETMODE)
    ) input_b (.clocks, .enables, .resets, .d({SIGNEDB && B17, b}), .q(wide_b));
    wire signed [37:0] exact = $signed(wide_a) * $signed(wide_b);
    mult18x18d_register #(
        .WIDTH(36), .CLOCK(REG_PIPELINE_CLK), .ENABLE(REG_PIPELINE_CE), .RESET(REG_PIPELINE_RST), .RESETMODE(RESETMODE)
    ) pipeline (.clocks, .enables, .resets, .d(exact[35:0]), .q(product));
    mult18x18d_register #(
        .WIDTH(36), .CLOCK(REG_OUTPUT_CLK), .ENABLE(REG_OUTPUT_CE), .RESET(REG_OUTPUT_RST), .RESETMODE(RESETMODE)
    ) result (.clocks, .enables, .resets, .d(product), .q(out));

    assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
        P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} =
        SOURCEA || SOURCEB ? ~out : out;
endmodule

// One of MULT18X18D's registers, or no register.
module mult18x18d_register #(
    parameter WIDTH = 36,
    parameter CLOCK = "NONE", ENABLE = "CE0", RESET = "RST0", RESETMODE = "SYNC"
) (
    input      [3:0]       clocks, enables, resets,
    input      [WIDTH-1:0] d,
    output     [WIDTH-1:0] q
);
    // The digit at the end of a name: CLK2 is 2.
    function [1:0] number(input [7:0] character);
        number = character[1:0];
    endfunction

    generate
        if (CLOCK != "NONE" && CLOCK != "CLK0" && CLOCK != "CLK1" && CLOCK != "CLK2" && CLOCK != "CLK3")
            MULT18X18D_has_no_such_clock not_modelled();
        if (ENABLE != "CE0" && ENABLE != "CE1" && ENABLE != "CE2" && ENABLE != "CE3")
            MULT18X18D_has_no_such_enable not_modelled();
        if (RESET != "RST0" && RESET != "RST1" && RESET != "RST2" && RESET != "RST3")
            MULT18X18D_has_no_such_reset not_modelled();

        if (CLOCK == "NONE") begin : through
            assign q = d;
        end else begin : held
            reg [WIDTH-1:0] value = 0;
            wire clock = clocks[number(CLOCK)], enable = enables[number(ENABLE)], reset = resets[number(RESET)];
            assign q = value;
            if (RESETMODE == "ASYNC") begin : asynchronous
                always @(posedge clock or posedge reset)
                    if (reset) value <= 0;
                    else if (enable) value <= d;
            end else begin : synchronous
                always @(posedge clock)
                    if (reset) value <= 0;
                    else if (enable) value <= d;
            end
        end
    endgenerate
endmodule

// A look-up table of four inputs. yosys ships it as a tree of multiplexers, over which C++ compilers take minutes.
module LUT4(input A, B, C, D, output Z);
    parameter [15:0] INIT = 0;
    wire [15:0] chosen = INIT >> {D, C, B, A};
    assign Z = chosen[0];
endmodule
