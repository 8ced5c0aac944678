// hdl.pe.multiply_accumulate: the operand's and the product's registers are the multiplier's; the
// sum is a carry chain that also makes the feedback zero: CCU2C adds B to A where C is low.

`timescale 1ns/1ps

/* verilator lint_off PINMISSING */
/* verilator lint_off WIDTHTRUNC */
module ecp5_multiply_accumulate #(parameter OPERAND = 18, FACTOR = 18, TOTAL = 40) (
    input clk,
    input signed [OPERAND-1:0] operand,
    input signed [FACTOR-1:0] factor,
    input first,
    input enable,
    output reg signed [TOTAL-1:0] total
);

localparam PAIRS = (TOTAL + 1) / 2;

wire signed [17:0] a = operand;
wire signed [17:0] b = factor;
wire signed [35:0] p;
wire [2*PAIRS-1:0] product = {{2*PAIRS{p[35]}}, p};
wire [2*PAIRS-1:0] base = {{2*PAIRS{total[TOTAL-1]}}, total};
wire [2*PAIRS-1:0] sum;
wire [PAIRS:0] carry;

ecp5_multiplier #(.A_REGISTER("CLK0"), .OUTPUT_REGISTER("CLK0")) multiplier (
    .clk(clk), .a(a), .b(b), .p(p)
);

assign carry[0] = 1'b0;

genvar n;
generate
    for (n = 0; n < PAIRS; n = n + 1) begin : chain
        CCU2C #(
            .INIT0(16'hC60C), .INIT1(16'hC60C), .INJECT1_0("NO"), .INJECT1_1("NO")
        ) pair (
            .CIN(carry[n]), .COUT(carry[n+1]),
            .A0(base[2*n]), .B0(product[2*n]), .C0(first), .D0(1'b1), .S0(sum[2*n]),
            .A1(base[2*n+1]), .B1(product[2*n+1]), .C1(first), .D1(1'b1), .S1(sum[2*n+1])
        );
    end
endgenerate

always @(posedge clk)
    if (enable) total <= sum[TOTAL-1:0];

endmodule
