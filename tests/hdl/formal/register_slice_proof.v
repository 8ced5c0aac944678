module register_slice_proof (
    input clk, input rst, input mark, input i_valid, input [2:0] i_data, input o_ready
);
    wire i_ready, o_valid, started, marked;
    wire [2:0] o_data, word;
    wire [7:0] inside, ahead;
    register_slice dut (clk, rst, i_valid, i_ready, i_data, o_valid, o_ready, o_data);
    scoreboard #(3, 2) board (
        clk, rst, mark, i_valid, i_ready, i_data, o_valid, o_ready, o_data,
        started, inside, marked, ahead, word
    );

    // what is inside (probes), for the step of the induction
    wire valid, full;
    wire [2:0] spare;
    always @* if (started) begin
        assert (inside == valid + full);
        assert (valid || !full);
        if (marked && ahead != 0) assert (spare == word);
    end
endmodule
