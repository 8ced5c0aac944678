// Follows one word through a block between the streams i and o: it leaves when the words before it
// have left, and as it came. The prover chooses it ("mark"), so no word is lost, doubled, changed
// or overtaken. A block that is not full takes words, and offers a word two cycles after it came.
module scoreboard #(parameter WIDTH = 1, parameter CAPACITY = 1) (
    input clk, input rst, input mark,
    input i_valid, input i_ready, input [WIDTH-1:0] i_data,
    input o_valid, input o_ready, input [WIDTH-1:0] o_data,
    output reg started,
    output reg [7:0] inside,      // words in the block
    output reg marked,            // the chosen one is among them,
    output reg [7:0] ahead,       // behind so many,
    output reg [WIDTH-1:0] word   // and this is it
);
    contract #(WIDTH, 1) i (clk, rst, i_valid, i_ready, i_data);
    contract #(WIDTH, 0) o (clk, rst, o_valid, o_ready, o_data);

    wire push = i_valid && i_ready;
    wire pop = o_valid && o_ready;
    reg starved;
    initial started = 0;

    always @(posedge clk) begin
        started <= 1;
        starved <= !rst && inside != 0 && !o_valid;
        if (rst) begin
            inside <= 0;
            marked <= 0;
        end else begin
            inside <= inside + push - pop;
            if (push && mark && !marked) begin
                marked <= 1;
                ahead <= inside - pop;
                word <= i_data;
            end else if (pop) begin
                ahead <= ahead - 1;
                if (ahead == 0) marked <= 0;
            end
        end
    end

    always @* if (started) begin
        if (o_valid) assert (inside != 0);
        if (o_valid && marked && ahead == 0) assert (o_data == word);
        if (marked) assert (ahead < inside);
        if (inside < CAPACITY) assert (i_ready);
        if (starved) assert (o_valid);
    end
endmodule
