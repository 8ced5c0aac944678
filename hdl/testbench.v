`timescale 1ns/1ps

// Self-checking test bench of a core. It loads image.hex, streams input.hex through the core with
// pseudo-random pauses on both sides, compares with output.hex and prints PASS or FAIL.
//   image.hex   {address, data} of each word to load, each padded to whole hex digits
//   input.hex   {i_first, i_data} of each block, i_first as one hex digit
//   output.hex  {o_last, o_data} of each block, o_last as one hex digit
module testbench;

// sizes

localparam LOADED = 16 + LOADS;
localparam PATIENCE = 100000;

reg clk = 0;
reg rst = 1;
reg load_valid = 0;
reg [ADDRESS_WIDTH-1:0] load_address = 0;
reg [LOAD_WIDTH-1:0] load_data = 0;
reg i_valid = 0;
wire i_ready;
reg [BLOCK_WIDTH-1:0] i_data = 0;
reg i_first = 0;
wire o_valid;
reg o_ready = 0;
wire [BLOCK_WIDTH-1:0] o_data;
wire o_last;

core dut (
    .clk(clk), .rst(rst),
    .load_valid(load_valid), .load_address(load_address), .load_data(load_data),
    .i_valid(i_valid), .i_ready(i_ready), .i_data(i_data), .i_first(i_first),
    .o_valid(o_valid), .o_ready(o_ready), .o_data(o_data), .o_last(o_last)
);

reg [ADDRESS_DIGITS*4+LOAD_DIGITS*4-1:0] image [0:LOADS-1];
reg [BLOCK_DIGITS*4+3:0] inputs [0:BLOCKS_IN-1];
reg [BLOCK_DIGITS*4+3:0] outputs [0:BLOCKS_OUT-1];
reg [ADDRESS_DIGITS*4+LOAD_DIGITS*4-1:0] parity = 0;
integer word;

initial begin
    $readmemh("image.hex", image);
    $readmemh("input.hex", inputs);
    $readmemh("output.hex", outputs);
    for (word = 0; word < LOADS; word = word + 1) parity = parity ^ image[word];
end

always #5 clk = !clk;

integer cycle = 0;
integer sent = 0;
integer received = 0;
integer mismatches = 0;
integer quiet = 0;
reg [15:0] noise = 16'hace1;
wire [BLOCK_DIGITS*4+3:0] expected = outputs[received < BLOCKS_OUT ? received : 0];
wire equal = o_data === expected[BLOCK_WIDTH-1:0] && o_last === expected[BLOCK_DIGITS*4];

always @(posedge clk) begin
    cycle <= cycle + 1;
    noise <= {noise[14:0], noise[15] ^ noise[13] ^ noise[12] ^ noise[10]};
    rst <= cycle < 8;

    load_valid <= cycle >= 16 && cycle < LOADED;
    if (cycle >= 16 && cycle < LOADED) begin
        load_address <= image[cycle-16][LOAD_DIGITS*4 +: ADDRESS_WIDTH];
        load_data <= image[cycle-16][LOAD_WIDTH-1:0];
    end

    if (cycle > LOADED && (!i_valid || i_ready)) begin
        i_valid <= sent < BLOCKS_IN && noise[2:0] != 0;
        if (sent < BLOCKS_IN && noise[2:0] != 0) begin
            i_first <= inputs[sent][BLOCK_DIGITS*4];
            i_data <= inputs[sent][BLOCK_WIDTH-1:0];
            sent <= sent + 1;
        end
    end

    o_ready <= noise[5:3] != 0;
    quiet <= cycle < LOADED || (o_valid && o_ready) ? 0 : quiet + 1;
    if (o_valid && o_ready) begin
        received <= received + 1;
        if (!equal) begin
            mismatches <= mismatches + 1;
            if (mismatches < 10)
                $display("block %0d: %b %h, expected %b %h", received, o_last, o_data,
                         expected[BLOCK_DIGITS*4], expected[BLOCK_WIDTH-1:0]);
        end
    end

    if (received == BLOCKS_OUT || quiet == PATIENCE) begin
        $display("%0d of %0d blocks in %0d cycles after loading, %0d mismatches",
                 received, BLOCKS_OUT, cycle - LOADED, mismatches);
        if (parity !== PARITY_OF_IMAGE)
            $display("image.hex is not the image that output.hex belongs to");
        if (received == BLOCKS_OUT && mismatches == 0 && parity === PARITY_OF_IMAGE)
            $display("PASS");
        else $display("FAIL");
        $finish;
    end
end

endmodule
