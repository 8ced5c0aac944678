`timescale 1ns/1ps

// Loads an accelerator, streams frames through it with pauses, interrupts it by a reset and does all
// of it again. Prints every X or Z on its outputs, every wrong word, and DONE.
//   image.hex   words of the image
//   input.hex   {user, last, data} of each block
//   output.hex  {last, data} of each block
// Inputs that do not count are X, as are all registers and memories at the start.
module four_state;

parameter WORDS = 1;
parameter BLOCKS_IN = 1;
parameter BLOCKS_OUT = 1;
parameter WIDTH_IN = 1;
parameter WIDTH_OUT = 1;
parameter INTERRUPT = 1;  // blocks out before the reset
parameter PATIENCE = 1000;

reg clk = 0;
reg rst = 1'bx;
reg config_tvalid = 1'bx;
reg config_tlast = 1'bx;
reg [31:0] config_tdata = 32'bx;
wire config_tready;
reg s_axis_tvalid = 1'bx;
reg s_axis_tlast = 1'bx;
reg s_axis_tuser = 1'bx;
reg [WIDTH_IN-1:0] s_axis_tdata = {WIDTH_IN{1'bx}};
wire s_axis_tready;
wire m_axis_tvalid;
wire m_axis_tlast;
wire [WIDTH_OUT-1:0] m_axis_tdata;
reg m_axis_tready = 1'bx;
wire [7:0] status;

accelerator dut (
    .clk(clk), .rst(rst),
    .config_tdata(config_tdata), .config_tvalid(config_tvalid), .config_tready(config_tready),
    .config_tlast(config_tlast),
    .s_axis_tdata(s_axis_tdata), .s_axis_tvalid(s_axis_tvalid), .s_axis_tready(s_axis_tready),
    .s_axis_tlast(s_axis_tlast), .s_axis_tuser(s_axis_tuser),
    .m_axis_tdata(m_axis_tdata), .m_axis_tvalid(m_axis_tvalid), .m_axis_tready(m_axis_tready),
    .m_axis_tlast(m_axis_tlast), .status(status)
);

reg [31:0] image [0:WORDS-1];
reg [WIDTH_IN+1:0] inputs [0:BLOCKS_IN-1];
reg [WIDTH_OUT:0] outputs [0:BLOCKS_OUT-1];
integer loaded = 0, sent = 0, received = 0, quiet = 0, resets = 0;
reg [15:0] noise = 16'hace1;

initial begin
    $readmemh("image.hex", image);
    $readmemh("input.hex", inputs);
    $readmemh("output.hex", outputs);
    repeat (3) @(posedge clk);
    #1;
    rst = 1;
end

always #5 clk = !clk;

// In a clock's low half the inputs take their values, then the outputs are judged.
always @(negedge clk) if (rst !== 1'bx) begin
    noise = {noise[14:0], noise[15] ^ noise[13] ^ noise[12] ^ noise[10]};
    if (rst) begin
        config_tvalid = 0;
        s_axis_tvalid = 0;
        loaded = 0;
        sent = 0;
        received = 0;
    end
    if (!config_tvalid && loaded < WORDS && noise[1:0] != 0 && !rst) begin
        config_tvalid = 1;
        config_tdata = image[loaded];
        config_tlast = loaded == WORDS - 1;
    end
    if (!s_axis_tvalid && sent < BLOCKS_IN && noise[3:2] != 0 && !rst) begin
        s_axis_tvalid = 1;
        {s_axis_tuser, s_axis_tlast, s_axis_tdata} = inputs[sent];
    end
    if (!config_tvalid) {config_tdata, config_tlast} = {33{1'bx}};
    if (!s_axis_tvalid) {s_axis_tuser, s_axis_tlast, s_axis_tdata} = {WIDTH_IN+2{1'bx}};
    m_axis_tready = noise[5:4] != 0;
    #1;
    if (!rst) begin
        if (^{config_tready, s_axis_tready, m_axis_tvalid, status} === 1'bx)
            $display("X at %0t: config_tready %b, s_axis_tready %b, m_axis_tvalid %b, status %b",
                     $time, config_tready, s_axis_tready, m_axis_tvalid, status);
        if (m_axis_tvalid === 1 && ^{m_axis_tlast, m_axis_tdata} === 1'bx)
            $display("X at %0t: m_axis_tlast %b, m_axis_tdata %b",
                     $time, m_axis_tlast, m_axis_tdata);
        if (m_axis_tvalid === 1 && {m_axis_tlast, m_axis_tdata} !== outputs[received])
            $display("block %0d: %b %h, expected %b %h", received, m_axis_tlast, m_axis_tdata,
                     outputs[received][WIDTH_OUT], outputs[received][WIDTH_OUT-1:0]);
    end
end

// What is transferred at the end of a cycle
always @(posedge clk) if (rst !== 1'bx) begin
    quiet = quiet + 1;
    if (!rst && config_tvalid && config_tready === 1) begin
        config_tvalid <= 0;
        loaded = loaded + 1;
        quiet = 0;
    end
    if (!rst && s_axis_tvalid && s_axis_tready === 1) begin
        s_axis_tvalid <= 0;
        sent = sent + 1;
    end
    if (!rst && m_axis_tvalid === 1 && m_axis_tready) begin
        received = received + 1;
        quiet = 0;
    end
    if (rst) resets = resets + 1;
    rst <= resets == 1 && received == INTERRUPT;
    if (received == BLOCKS_OUT) begin
        $display("DONE");
        $finish;
    end
    if (quiet == PATIENCE) begin
        $display("no transfer in %0d cycles", PATIENCE);
        $finish;
    end
end

endmodule
