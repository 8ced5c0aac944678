// hdl.arith.multiply_registered: two cycles, the multiplier's input and output registers.

`timescale 1ns/1ps

module ecp5_multiply_registered #(parameter A = 18, B = 18, PRODUCT = 36) (
    input clk,
    input signed [A-1:0] a,
    input signed [B-1:0] b,
    output signed [PRODUCT-1:0] product
);

wire signed [17:0] wide_a = a;
wire signed [17:0] wide_b = b;
wire signed [35:0] p;

ecp5_multiplier #(
    .A_REGISTER("CLK0"), .B_REGISTER("CLK0"), .OUTPUT_REGISTER("CLK0")
) multiplier (.clk(clk), .a(wide_a), .b(wide_b), .p(p));

assign product = p[PRODUCT-1:0];

endmodule
