// A stream keeps its contract: once valid, valid and payload stay until the transfer. Given of what
// goes into the block under proof, to be proved of what comes out.
module contract #(parameter WIDTH = 1, parameter GIVEN = 0) (
    input clk, input rst, input valid, input ready, input [WIDTH-1:0] payload
);
    reg started, waits;
    reg [WIDTH-1:0] kept;
    initial started = 0;

    always @(posedge clk) begin
        started <= 1;
        waits <= !rst && valid && !ready;
        kept <= payload;
    end

    wire held = !started || !waits || (valid && payload == kept);
    always @* begin
        if (!started) assume (rst);
        if (GIVEN) assume (held);
        else assert (held);
    end
endmodule
