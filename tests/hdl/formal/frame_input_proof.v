module frame_input_proof (
    input clk, input rst, input [31:0] s_tdata, input s_tvalid, input s_tlast, input s_tuser,
    input o_ready, input enable, input [1:0] frame_blocks
);
    wire s_tready, o_valid, o_first, o_last, error, coming;
    wire [31:0] o_data;
    frame_input dut (
        .clk(clk), .rst(rst), .s_tdata(s_tdata), .s_tvalid(s_tvalid), .s_tready(s_tready),
        .s_tlast(s_tlast), .s_tuser(s_tuser), .o_valid(o_valid), .o_ready(o_ready),
        .o_data(o_data), .o_first(o_first), .o_last(o_last), .frame_blocks(frame_blocks),
        .enable(enable), .error(error), .coming(coming)
    );
    contract #(34, 1) s (clk, rst, s_tvalid, s_tready, {s_tuser, s_tlast, s_tdata});
    contract #(34, 0) o (clk, rst, o_valid, o_ready, {o_first, o_last, o_data});
endmodule
