module frame_output_proof (
    input clk, input rst, input i_valid, input i_last, input i_count, input [63:0] i_data,
    input m_tready
);
    wire i_ready, m_tvalid, m_tlast;
    wire [31:0] m_tdata;
    frame_output dut (
        .clk(clk), .rst(rst), .i_valid(i_valid), .i_ready(i_ready), .i_last(i_last),
        .i_count(i_count), .i_data(i_data), .m_tdata(m_tdata), .m_tvalid(m_tvalid),
        .m_tready(m_tready), .m_tlast(m_tlast)
    );
    contract #(66, 1) i (clk, rst, i_valid, i_ready, {i_last, i_count, i_data});
    contract #(33, 0) m (clk, rst, m_tvalid, m_tready, {m_tlast, m_tdata});
endmodule
