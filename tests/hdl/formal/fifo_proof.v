module fifo_proof (
    input clk, input rst, input mark, input i_valid, input [2:0] i_data, input o_ready
);
    wire i_ready, o_valid, started, marked;
    wire [2:0] o_data, word;
    wire [7:0] inside, ahead;
    fifo dut (clk, rst, i_valid, i_ready, i_data, o_valid, o_ready, o_data);
    scoreboard #(3, 5) board (
        clk, rst, mark, i_valid, i_ready, i_data, o_valid, o_ready, o_data,
        started, inside, marked, ahead, word
    );

    // what is inside (probes), for the step of the induction
    wire valid;
    wire [2:0] count, word0, word1, word2, word3;
    wire [1:0] write, read;
    wire [1:0] place = read + ahead - valid;
    wire [2:0] followed = place[1] ? (place[0] ? word3 : word2) : (place[0] ? word1 : word0);
    always @* if (started) begin
        assert (count <= (valid ? 4 : 1));
        assert (write == ((read + count) & 3));
        assert (inside == count + valid);
        if (marked && (ahead != 0 || !valid)) assert (followed == word);
    end
endmodule
