// hdl.pe.multiply_accumulate: the operands' and the product's registers are the multiplier's; the
// sum is a carry chain that also chooses what it begins with: CCU2C adds B to D where A is high,
// else to C. Its generate is B, of which its propagate is no other function where C and D are low.
// What chooses is a flip-flop of each chain's own: Yosys would make one of all.

`timescale 1ns/1ps

/* verilator lint_off PINMISSING */
/* verilator lint_off WIDTHTRUNC */
module ecp5_multiply_accumulate #(parameter OPERAND = 18, FACTOR = 18, TOTAL = 40) (
    input clk,
    input signed [OPERAND-1:0] operand,
    input signed [FACTOR-1:0] factor,
    input starts,
    input counts,
    input keeps,
    input forgets,
    output reg signed [TOTAL-1:0] total
);

localparam PAIRS = (TOTAL + 1) / 2;

wire signed [17:0] a = operand;
wire signed [17:0] b = factor;
wire signed [35:0] p;
reg signed [TOTAL-1:0] aside;
wire [2*PAIRS-1:0] product = {{2*PAIRS{p[35]}}, p};
wire [2*PAIRS-1:0] going_on = {{2*PAIRS{total[TOTAL-1]}}, total};
wire [2*PAIRS-1:0] put_aside = {{2*PAIRS{aside[TOTAL-1]}}, aside};
wire [2*PAIRS-1:0] sum;
wire [PAIRS:0] carry;
wire starting;

TRELLIS_FF #(
    .GSR("AUTO"), .CEMUX("1"), .CLKMUX("CLK"), .LSRMUX("LSR"), .REGSET("RESET")
) starts_here (.CLK(clk), .LSR(1'b0), .DI(starts), .Q(starting));

ecp5_multiplier #(
    .A_REGISTER("CLK0"), .B_REGISTER("CLK0"), .OUTPUT_REGISTER("CLK0")
) multiplier (.clk(clk), .a(a), .b(b), .p(p));

assign carry[0] = 1'b0;

genvar n;
generate
    for (n = 0; n < PAIRS; n = n + 1) begin : chain
        CCU2C #(
            .INIT0(16'h369C), .INIT1(16'h369C), .INJECT1_0("NO"), .INJECT1_1("NO")
        ) pair (
            .CIN(carry[n]), .COUT(carry[n+1]), .A0(starting), .B0(product[2*n]),
            .C0(going_on[2*n]), .D0(put_aside[2*n]), .S0(sum[2*n]), .A1(starting),
            .B1(product[2*n+1]), .C1(going_on[2*n+1]), .D1(put_aside[2*n+1]), .S1(sum[2*n+1])
        );
    end
endgenerate

always @(posedge clk) begin
    if (counts) total <= sum[TOTAL-1:0];
    if (forgets) aside <= 0;
    else if (keeps) aside <= total;
end

endmodule
