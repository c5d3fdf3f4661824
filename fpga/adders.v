// Additions as carry chains, one for each.
//
// Yosys makes one cell of several additions in a row (alumacc), and of that a tree of carry-save adders, three LUTs for
// every two bits. Where a carry chain is as cheap as a LUT and faster, a tree of chains is smaller; so the build takes
// that cell apart again, and this is what its additions become.
(* techmap_celltype = "$add $sub" *)
module adder (A, B, Y);
    parameter _TECHMAP_CELLTYPE_ = "";
    parameter A_SIGNED = 0;
    parameter B_SIGNED = 0;
    parameter A_WIDTH = 1;
    parameter B_WIDTH = 1;
    parameter Y_WIDTH = 1;
    localparam SUBTRACT = _TECHMAP_CELLTYPE_ == "$sub";
    input [A_WIDTH-1:0] A;
    input [B_WIDTH-1:0] B;
    output [Y_WIDTH-1:0] Y;
    wire [Y_WIDTH-1:0] difference, carry;
    \$alu #(
        .A_SIGNED(A_SIGNED), .B_SIGNED(B_SIGNED), .A_WIDTH(A_WIDTH), .B_WIDTH(B_WIDTH), .Y_WIDTH(Y_WIDTH)
    ) _TECHMAP_REPLACE_ (.A(A), .B(B), .CI(SUBTRACT), .BI(SUBTRACT), .X(difference), .Y(Y), .CO(carry));
endmodule
