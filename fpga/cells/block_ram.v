// The block RAM that ECP5's DP16KD and Gowin's BSRAM have in common: 512 rows of four bytes of 8 or 9 bits behind two
// ports, each with a clock, a width and a mode of its own. ecp5.v and gowin.v give it their primitives' pins.
//
// An address is 14 bits and counts bits of an 8-bit byte, whatever the width: [13:5] is the row, [4:3] the byte in it
// and [2:0] the bit; a word of several bits begins at a multiple of its width. Words of 1, 2 and 4 bits do not reach
// the ninth bit. A word of 2 or 4 bytes writes those that the lowest address bits enable, which name no place in it.
//
// What no document promises is shown as a value that nobody wants, so that a design that depends on it is found out: a
// bit that the other port writes in the same cycle is read inverted, and a bit that both write is stored inverted.
// (Ports whose clocks are not one are treated as if their edges fell together.)
module block_ram #(
    parameter BYTE = 9,                 // 8 or 9 bits
    parameter WIDTH_A = 18,             // 1, 2, 4, BYTE, 2 * BYTE or 4 * BYTE
    parameter WIDTH_B = 18,
    parameter SHOWS_A = 0,              // the output while its port writes: 0 stays, 1 is the new word, 2 the old one
    parameter SHOWS_B = 0,
    parameter REGISTER_A = 0,           // a register behind the output: a cycle more
    parameter REGISTER_B = 0,
    parameter ASYNC_RESET = 0,          // the reset of outputs, which clears no contents
    parameter [2048*BYTE-1:0] INIT = 0  // contents, byte 0 lowest
) (
    input             clk_a, enable_a, write_a, reset_a, register_enable_a,
    input      [13:0] address_a,
    input      [35:0] in_a,
    output     [35:0] out_a,
    input             clk_b, enable_b, write_b, reset_b, register_enable_b,
    input      [13:0] address_b,
    input      [35:0] in_b,
    output     [35:0] out_b
);
    localparam ROW = 4 * BYTE;

    // Bits of a word, all ones.
    function [ROW-1:0] ones(input integer width);
        ones = {ROW{1'b1}} >> (ROW - width);
    endfunction

    // Where in its row a word begins.
    function [5:0] place(input integer width, input [13:0] address);
        case (width)
            1: place = BYTE * address[4:3] + address[2:0];
            2: place = BYTE * address[4:3] + {address[2:1], 1'b0};
            4: place = BYTE * address[4:3] + {address[2], 2'b0};
            BYTE: place = BYTE * address[4:3];
            2 * BYTE: place = 2 * BYTE * address[4];
            default: place = 0;
        endcase
    endfunction

    // The bits of a word that a write changes.
    function [ROW-1:0] written(input integer width, input [13:0] address);
        case (width)
            2 * BYTE: written = {{BYTE{address[1]}}, {BYTE{address[0]}}};
            4 * BYTE: written = {{BYTE{address[3]}}, {BYTE{address[2]}}, {BYTE{address[1]}}, {BYTE{address[0]}}};
            default: written = ones(width);
        endcase
    endfunction

    generate
        if (BYTE != 8 && BYTE != 9)
            block_ram_has_no_such_byte not_modelled();
        if (WIDTH_A != 1 && WIDTH_A != 2 && WIDTH_A != 4 && WIDTH_A != BYTE && WIDTH_A != 2 * BYTE && WIDTH_A != ROW)
            block_ram_has_no_such_width_a not_modelled();
        if (WIDTH_B != 1 && WIDTH_B != 2 && WIDTH_B != 4 && WIDTH_B != BYTE && WIDTH_B != 2 * BYTE && WIDTH_B != ROW)
            block_ram_has_no_such_width_b not_modelled();
    endgenerate

    reg [ROW-1:0] rows [0:511];
    integer row;
    initial
        for (row = 0; row < 512; row = row + 1)
            rows[row] = INIT[ROW * row +: ROW];

    // What each port does to its row.
    wire [8:0] row_a = address_a[13:5], row_b = address_b[13:5];
    wire [5:0] place_a = place(WIDTH_A, address_a), place_b = place(WIDTH_B, address_b);
    wire [ROW-1:0] mask_a = enable_a && write_a ? written(WIDTH_A, address_a) << place_a : {ROW{1'b0}};
    wire [ROW-1:0] mask_b = enable_b && write_b ? written(WIDTH_B, address_b) << place_b : {ROW{1'b0}};
    wire [ROW-1:0] data_a = in_a[ROW-1:0] << place_a, data_b = in_b[ROW-1:0] << place_b;
    wire [ROW-1:0] both = row_a == row_b ? mask_a & mask_b : {ROW{1'b0}};

    // Writing, bit by bit: the ports may change different bits of one row.
    integer bit_a, bit_b;
    always @(posedge clk_a)
        if (mask_a != 0)
            for (bit_a = 0; bit_a < ROW; bit_a = bit_a + 1)
                if (mask_a[bit_a])
                    rows[row_a][bit_a] <= data_a[bit_a] ^ both[bit_a];
    always @(posedge clk_b)
        if ((mask_b & ~both) != 0)
            for (bit_b = 0; bit_b < ROW; bit_b = bit_b + 1)
                if (mask_b[bit_b] && !both[bit_b])
                    rows[row_b][bit_b] <= data_b[bit_b];

    // Reading. The other port's write hides what is there; the port's own shows what its mode says.
    wire [ROW-1:0] stored_a = rows[row_a] ^ (row_a == row_b ? mask_b : {ROW{1'b0}});
    wire [ROW-1:0] stored_b = rows[row_b] ^ (row_a == row_b ? mask_a : {ROW{1'b0}});
    wire [ROW-1:0] found_a = (SHOWS_A == 1 ? stored_a & ~mask_a | data_a & mask_a : stored_a) >> place_a;
    wire [ROW-1:0] found_b = (SHOWS_B == 1 ? stored_b & ~mask_b | data_b & mask_b : stored_b) >> place_b;
    wire reads_a = enable_a && (!write_a || SHOWS_A != 0);
    wire reads_b = enable_b && (!write_b || SHOWS_B != 0);

    block_ram_output #(.WIDTH(WIDTH_A), .REGISTER(REGISTER_A), .ASYNC_RESET(ASYNC_RESET)) output_a (
        .clk(clk_a), .reset(reset_a), .reads(reads_a), .register_enable(register_enable_a),
        .found(found_a[WIDTH_A-1:0]), .out(out_a));
    block_ram_output #(.WIDTH(WIDTH_B), .REGISTER(REGISTER_B), .ASYNC_RESET(ASYNC_RESET)) output_b (
        .clk(clk_b), .reset(reset_b), .reads(reads_b), .register_enable(register_enable_b),
        .found(found_b[WIDTH_B-1:0]), .out(out_b));
endmodule

// What holds a port's last word until the next read, with the register behind it. A reset needs no enable.
module block_ram_output #(
    parameter WIDTH = 18,
    parameter REGISTER = 0,
    parameter ASYNC_RESET = 0
) (
    input              clk, reset, reads, register_enable,
    input  [WIDTH-1:0] found,
    output [35:0]      out
);
    reg [WIDTH-1:0] held = 0, registered = 0;
    wire [WIDTH-1:0] next_held = reads ? found : held;
    wire [WIDTH-1:0] next_registered = register_enable ? held : registered;
    generate
        if (ASYNC_RESET) begin : asynchronous
            always @(posedge clk or posedge reset)
                if (reset) {held, registered} <= 0;
                else {held, registered} <= {next_held, next_registered};
        end else begin : synchronous
            always @(posedge clk)
                if (reset) {held, registered} <= 0;
                else {held, registered} <= {next_held, next_registered};
        end
    endgenerate
    assign out = REGISTER ? registered : held;
endmodule
