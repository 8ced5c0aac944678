`timescale 1ns/1ps

// Self-checking test bench of an accelerator. It sends image.hex, waits for status[0], streams
// input.hex through the accelerator with pseudo-random pauses on both sides, compares with
// output.hex and prints PASS or FAIL.
//   image.hex   tdata of each word of config
//   input.hex   {tuser, tlast, tdata} of each block of s_axis, tuser and tlast as one hex digit each
//   output.hex  {tlast, tdata} of each block of m_axis, tlast as one hex digit
module testbench;

// sizes

localparam PATIENCE = 100000;

reg clk = 0;
reg rst = 1;
reg [31:0] config_tdata = 0;
reg config_tvalid = 0;
wire config_tready;
reg config_tlast = 0;
reg [INPUT_BITS-1:0] s_axis_tdata = 0;
reg s_axis_tvalid = 0;
wire s_axis_tready;
reg s_axis_tlast = 0;
reg s_axis_tuser = 0;
wire [OUTPUT_BITS-1:0] m_axis_tdata;
wire m_axis_tvalid;
reg m_axis_tready = 0;
wire m_axis_tlast;
wire [7:0] status;

accelerator dut (
    .clk(clk), .rst(rst), .status(status),
    .config_tdata(config_tdata), .config_tvalid(config_tvalid),
    .config_tready(config_tready), .config_tlast(config_tlast),
    .s_axis_tdata(s_axis_tdata), .s_axis_tvalid(s_axis_tvalid), .s_axis_tready(s_axis_tready),
    .s_axis_tlast(s_axis_tlast), .s_axis_tuser(s_axis_tuser),
    .m_axis_tdata(m_axis_tdata), .m_axis_tvalid(m_axis_tvalid), .m_axis_tready(m_axis_tready),
    .m_axis_tlast(m_axis_tlast)
);

reg [31:0] image [0:WORDS-1];
reg [INPUT_BITS+7:0] inputs [0:BLOCKS_IN-1];
reg [OUTPUT_BITS+3:0] outputs [0:BLOCKS_OUT-1];

initial begin
    $readmemh("image.hex", image);
    $readmemh("input.hex", inputs);
    $readmemh("output.hex", outputs);
end

always #5 clk = !clk;

integer cycle = 0;
integer loaded = 0;
integer sent = 0;
integer received = 0;
integer mismatches = 0;
integer running = 0;
integer quiet = 0;
reg [15:0] noise = 16'hace1;
wire [OUTPUT_BITS+3:0] expected = outputs[received < BLOCKS_OUT ? received : 0];
wire equal = m_axis_tdata === expected[OUTPUT_BITS-1:0] && m_axis_tlast === expected[OUTPUT_BITS];
wire refused = loaded != 0 && status[7:4] != 0;
wire dropped = sent != 0 && status[2];

always @(posedge clk) begin
    cycle <= cycle + 1;
    noise <= {noise[14:0], noise[15] ^ noise[13] ^ noise[12] ^ noise[10]};
    rst <= cycle < 8;

    if (cycle >= 16 && (!config_tvalid || config_tready)) begin
        config_tvalid <= loaded < WORDS && noise[8:6] != 0;
        if (loaded < WORDS && noise[8:6] != 0) begin
            config_tdata <= image[loaded];
            config_tlast <= loaded == WORDS - 1;
            loaded <= loaded + 1;
        end
    end

    if (loaded == WORDS && status[0]) running <= running + 1;
    if (running != 0 && (!s_axis_tvalid || s_axis_tready)) begin
        s_axis_tvalid <= sent < BLOCKS_IN && noise[2:0] != 0;
        if (sent < BLOCKS_IN && noise[2:0] != 0) begin
            s_axis_tuser <= inputs[sent][INPUT_BITS+4];
            s_axis_tlast <= inputs[sent][INPUT_BITS];
            s_axis_tdata <= inputs[sent][INPUT_BITS-1:0];
            sent <= sent + 1;
        end
    end

    m_axis_tready <= noise[5:3] != 0;
    quiet <= loaded < WORDS || (m_axis_tvalid && m_axis_tready) ? 0 : quiet + 1;
    if (running != 0 && m_axis_tvalid && m_axis_tready) begin
        received <= received + 1;
        if (!equal) begin
            mismatches <= mismatches + 1;
            if (mismatches < 10)
                $display("block %0d: %b %h, expected %b %h", received, m_axis_tlast, m_axis_tdata,
                         expected[OUTPUT_BITS], expected[OUTPUT_BITS-1:0]);
        end
    end

    if (received == BLOCKS_OUT || quiet == PATIENCE || refused || dropped) begin
        if (refused) $display("image.hex is refused: error %0d", status[7:4]);
        if (dropped) $display("input.hex has a frame of a wrong length");
        $display("%0d of %0d blocks in %0d cycles after loading, %0d mismatches",
                 received, BLOCKS_OUT, running, mismatches);
        if (received == BLOCKS_OUT && mismatches == 0 && !refused && !dropped) $display("PASS");
        else $display("FAIL");
        $finish;
    end
end

endmodule
