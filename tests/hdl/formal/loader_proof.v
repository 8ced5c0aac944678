// No entry is written while the core may run or is busy, and it may run only after a word with
// TLAST that equals the CRC of the words before it.
module loader_proof (
    input clk, input rst, input [31:0] config_tdata, input config_tvalid, input config_tlast,
    input busy
);
    wire config_tready, enable, load_valid;
    loader dut (
        .clk(clk), .rst(rst), .config_tdata(config_tdata), .config_tvalid(config_tvalid),
        .config_tready(config_tready), .config_tlast(config_tlast), .busy(busy), .enable(enable),
        .load_valid(load_valid)
    );

    wire [2:0] state;             // probes
    wire [31:0] crc;
    localparam QUIET = 3, VERDICT = 6;
    wire writing = QUIET <= state && state <= VERDICT;

    reg started, enabled, idle, correct;
    initial started = 0;

    wire [31:0] reversed;
    genvar n;
    for (n = 0; n < 32; n = n + 1) assign reversed[n] = crc[31 - n];

    always @(posedge clk) begin
        started <= 1;
        enabled <= enable;
        correct <= config_tvalid && config_tready && config_tlast && config_tdata == reversed;
        // the core has been seen idle since it was stopped
        idle <= !enable && (idle || !busy);
    end

    always @* begin
        if (!started) assume (rst);
        // a core that must not start and is idle stays idle
        if (started && idle && !enable) assume (!busy);
        if (started) begin
            assert (!(enable && writing));
            assert (!writing || state == QUIET || idle);
            if (load_valid) assert (!enable && !busy);
            if (enable && !enabled) assert (correct);
        end
    end
endmodule
