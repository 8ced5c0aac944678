// hdl.arith.scale: one cycle, the multiplier's output register; the offset is added after it.

`timescale 1ns/1ps

/* verilator lint_off WIDTHTRUNC */
module ecp5_scale #(parameter A = 18, PRODUCT = 36, FACTOR = 1, OFFSET = 0) (
    input clk,
    input signed [A-1:0] a,
    output signed [PRODUCT-1:0] product
);

wire signed [17:0] wide_a = a;
wire signed [17:0] factor = FACTOR;
wire signed [35:0] offset = OFFSET;
wire signed [35:0] p;

ecp5_multiplier #(.OUTPUT_REGISTER("CLK0")) multiplier (
    .clk(clk), .a(wide_a), .b(factor), .p(p)
);

assign product = p + offset;

endmodule
