"""Verilog of `openlpu_ram`, the memory behind a Bank with `external_banks`.

Amaranth writes out the initial contents of every memory. For the deep banks of a simulation-only machine that would
be hundreds of megabytes of Verilog, so those banks are instances of this module, which has none.
"""

RAM_MODULE = "openlpu_ram"

RAM_VERILOG = """\
// One write port, with an enable for each of PARTS equal parts of a row, and one read port. A read sees the writes of
// earlier cycles only.
module openlpu_ram #(
    parameter WIDTH = 32,
    parameter PARTS = WIDTH / 8,
    parameter DEPTH = 1024
) (
    input                          clk,
    input                          read_enable,
    input      [$clog2(DEPTH)-1:0] read_row,
    output reg [WIDTH-1:0]         read_data,
    input      [PARTS-1:0]         write_enable,
    input      [$clog2(DEPTH)-1:0] write_row,
    input      [WIDTH-1:0]         write_data
);
    reg [WIDTH-1:0] rows [0:DEPTH-1];
    integer i;

    always @(posedge clk) begin
        if (read_enable)
            read_data <= rows[read_row];
        for (i = 0; i < PARTS; i = i + 1)
            if (write_enable[i])
                rows[write_row][WIDTH/PARTS*i +: WIDTH/PARTS] <= write_data[WIDTH/PARTS*i +: WIDTH/PARTS];
    end
endmodule
"""
