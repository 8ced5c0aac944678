// hdl.arith.memory: a hdl.arith.queue_memory that never waits.

`timescale 1ns/1ps

module ecp5_memory #(parameter W_ADDRESS = 9, R_ADDRESS = 9, W_DATA = 36, R_DATA = 36) (
    input clk,
    input w_enable,
    input [W_ADDRESS-1:0] w_address,
    input [W_DATA-1:0] w_data,
    input [R_ADDRESS-1:0] r_address,
    output [R_DATA-1:0] r_data
);

ecp5_queue_memory #(
    .W_ADDRESS(W_ADDRESS), .R_ADDRESS(R_ADDRESS), .W_DATA(W_DATA), .R_DATA(R_DATA)
) queue_memory (
    .clk(clk), .w_enable(w_enable), .w_address(w_address), .w_data(w_data), .r_enable(1'b1),
    .r_address(r_address), .q_enable(1'b1), .r_data(r_data)
);

endmodule
