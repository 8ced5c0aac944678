// Models of the ECP5 primitives that the Verilog beside this file uses, and as much of them as it
// uses: for simulators. From Lattice's guides to sysDSP (FPGA-TN-02205) and to memories
// (FPGA-TN-02204); CCU2C as Yosys models it.

/* verilator lint_off DECLFILENAME */
/* verilator lint_off UNUSEDPARAM */
/* verilator lint_off WIDTHTRUNC */
`timescale 1ns/1ps

module MULT18X18D #(
    parameter REG_INPUTA_CLK = "NONE", REG_INPUTB_CLK = "NONE", REG_PIPELINE_CLK = "NONE",
    parameter REG_OUTPUT_CLK = "NONE", SOURCEB_MODE = "B_SHIFT", GSR = "ENABLED",
    parameter RESETMODE = "SYNC"
) (
    input CLK0, CE0, RST0, SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    input A0, A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13, A14, A15, A16, A17,
    input B0, B1, B2, B3, B4, B5, B6, B7, B8, B9, B10, B11, B12, B13, B14, B15, B16, B17,
    output P0, P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11, P12, P13, P14, P15, P16, P17, P18,
        P19, P20, P21, P22, P23, P24, P25, P26, P27, P28, P29, P30, P31, P32, P33, P34, P35
);

wire [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
wire [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
wire [35:0] p;
assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
    P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = p;

reg [17:0] a_q, b_q;
wire [17:0] a_in = REG_INPUTA_CLK == "NONE" ? a : a_q;
wire [17:0] b_in = REG_INPUTB_CLK == "NONE" ? b : b_q;
wire [35:0] wide_a = {{18{SIGNEDA & a_in[17]}}, a_in};
wire [35:0] wide_b = {{18{SIGNEDB & b_in[17]}}, b_in};
wire [35:0] product = wide_a * wide_b;
reg [35:0] pipeline_q, output_q;
wire [35:0] last = REG_PIPELINE_CLK == "NONE" ? product : pipeline_q;
assign p = REG_OUTPUT_CLK == "NONE" ? last : output_q;

always @(posedge CLK0)
    if (RST0) begin
        a_q <= 0; b_q <= 0; pipeline_q <= 0; output_q <= 0;
    end else if (CE0) begin
        a_q <= a; b_q <= b; pipeline_q <= product; output_q <= last;
    end

endmodule


module CCU2C #(
    parameter [15:0] INIT0 = 0, INIT1 = 0, parameter INJECT1_0 = "YES", INJECT1_1 = "YES"
) (
    input CIN, A0, B0, C0, D0, A1, B1, C1, D1,
    output S0, S1, COUT
);

// multiplexers, so that an unknown input that does not count leaves the output known
function lut(input [15:0] init, input d, input c, input b, input a);
    reg [7:0] of_d;
    reg [3:0] of_c;
    reg [1:0] of_b;
    begin
        of_d = d ? init[15:8] : init[7:0];
        of_c = c ? of_d[7:4] : of_d[3:0];
        of_b = b ? of_c[3:2] : of_c[1:0];
        lut = a ? of_b[1] : of_b[0];
    end
endfunction

wire propagate_0 = lut(INIT0, D0, C0, B0, A0);
wire propagate_1 = lut(INIT1, D1, C1, B1, A1);
wire generate_0 = INJECT1_0 == "NO" & lut(INIT0, 1'b0, 1'b0, B0, A0);
wire generate_1 = INJECT1_1 == "NO" & lut(INIT1, 1'b0, 1'b0, B1, A1);
wire carry = propagate_0 ? CIN : generate_0;
assign S0 = propagate_0 ^ (INJECT1_0 == "NO" & CIN);
assign S1 = propagate_1 ^ (INJECT1_1 == "NO" & carry);
assign COUT = propagate_1 ? carry : generate_1;

endmodule


module TRELLIS_FF #(
    parameter GSR = "ENABLED", CEMUX = "1", CLKMUX = "CLK", LSRMUX = "LSR", REGSET = "RESET"
) (
    input CLK, LSR, DI,
    output reg Q
);

always @(posedge CLK) Q <= LSR ? REGSET == "SET" : DI;

endmodule


module PDPW16KD #(
    parameter DATA_WIDTH_W = 36, DATA_WIDTH_R = 36, REGMODE = "NOREG", GSR = "ENABLED"
) (
    input CLKW, CEW, CSW0, CSW1, CSW2, BE0, BE1, BE2, BE3,
    input CLKR, CER, OCER, CSR0, CSR1, CSR2, RST,
    input ADW0, ADW1, ADW2, ADW3, ADW4, ADW5, ADW6, ADW7, ADW8,
    input ADR0, ADR1, ADR2, ADR3, ADR4, ADR5, ADR6, ADR7, ADR8, ADR9, ADR10, ADR11, ADR12, ADR13,
    input DI0, DI1, DI2, DI3, DI4, DI5, DI6, DI7, DI8, DI9, DI10, DI11, DI12, DI13, DI14, DI15,
        DI16, DI17, DI18, DI19, DI20, DI21, DI22, DI23, DI24, DI25, DI26, DI27, DI28, DI29, DI30,
        DI31, DI32, DI33, DI34, DI35,
    output DO0, DO1, DO2, DO3, DO4, DO5, DO6, DO7, DO8, DO9, DO10, DO11, DO12, DO13, DO14, DO15,
        DO16, DO17, DO18, DO19, DO20, DO21, DO22, DO23, DO24, DO25, DO26, DO27, DO28, DO29, DO30,
        DO31, DO32, DO33, DO34, DO35
);

wire [8:0] write = {ADW8, ADW7, ADW6, ADW5, ADW4, ADW3, ADW2, ADW1, ADW0};
wire [13:0] read = {ADR13, ADR12, ADR11, ADR10, ADR9, ADR8, ADR7, ADR6, ADR5, ADR4, ADR3, ADR2,
    ADR1, ADR0};
wire [35:0] d = {DI35, DI34, DI33, DI32, DI31, DI30, DI29, DI28, DI27, DI26, DI25, DI24, DI23,
    DI22, DI21, DI20, DI19, DI18, DI17, DI16, DI15, DI14, DI13, DI12, DI11, DI10, DI9, DI8, DI7,
    DI6, DI5, DI4, DI3, DI2, DI1, DI0};
wire [35:0] q;
assign {DO35, DO34, DO33, DO32, DO31, DO30, DO29, DO28, DO27, DO26, DO25, DO24, DO23, DO22, DO21,
    DO20, DO19, DO18, DO17, DO16, DO15, DO14, DO13, DO12, DO11, DO10, DO9, DO8, DO7, DO6, DO5, DO4,
    DO3, DO2, DO1, DO0} = q;

reg [35:0] words [0:511];
reg [35:0] latch, output_q;
assign q = REGMODE == "NOREG" ? latch : output_q;

always @(posedge CLKW)
    if (CEW & ~CSW0 & ~CSW1 & ~CSW2) begin
        if (BE0) words[write][8:0] <= d[8:0];
        if (BE1) words[write][17:9] <= d[17:9];
        if (BE2) words[write][26:18] <= d[26:18];
        if (BE3) words[write][35:27] <= d[35:27];
    end

always @(posedge CLKR) begin
    if (CER & ~CSR0 & ~CSR1 & ~CSR2) latch <= words[read[13:5]];
    if (RST) output_q <= 0;
    else if (OCER) output_q <= latch;
end

endmodule


// port A writes, port B reads, both in words of one width
module DP16KD #(
    parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18, REGMODE_B = "NOREG", GSR = "ENABLED"
) (
    input CLKA, CEA, OCEA, WEA, RSTA, CSA0, CSA1, CSA2,
    input CLKB, CEB, OCEB, WEB, RSTB, CSB0, CSB1, CSB2,
    input ADA0, ADA1, ADA2, ADA3, ADA4, ADA5, ADA6, ADA7, ADA8, ADA9, ADA10, ADA11, ADA12, ADA13,
    input ADB0, ADB1, ADB2, ADB3, ADB4, ADB5, ADB6, ADB7, ADB8, ADB9, ADB10, ADB11, ADB12, ADB13,
    input DIA0, DIA1, DIA2, DIA3, DIA4, DIA5, DIA6, DIA7, DIA8, DIA9, DIA10, DIA11, DIA12, DIA13,
        DIA14, DIA15, DIA16, DIA17,
    output DOB0, DOB1, DOB2, DOB3, DOB4, DOB5, DOB6, DOB7, DOB8, DOB9, DOB10, DOB11, DOB12, DOB13,
        DOB14, DOB15, DOB16, DOB17
);

localparam LOW = DATA_WIDTH_A == 18 ? 4 : DATA_WIDTH_A == 9 ? 3 : DATA_WIDTH_A == 4 ? 2
    : DATA_WIDTH_A == 2 ? 1 : 0;

wire [13:0] write = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2,
    ADA1, ADA0};
wire [13:0] read = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2,
    ADB1, ADB0};
wire [17:0] d = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6,
    DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
wire [17:0] q;
assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4,
    DOB3, DOB2, DOB1, DOB0} = q;

reg [DATA_WIDTH_A-1:0] words [0:(16384 >> LOW)-1];
reg [DATA_WIDTH_A-1:0] latch, output_q;
assign q = {18'b0, REGMODE_B == "NOREG" ? latch : output_q};

generate
    if (DATA_WIDTH_A == 18) begin : bytes
        always @(posedge CLKA)
            if (CEA & WEA & ~CSA0 & ~CSA1 & ~CSA2) begin
                if (ADA0) words[write[13:LOW]][8:0] <= d[8:0];
                if (ADA1) words[write[13:LOW]][17:9] <= d[17:9];
            end
    end else begin : whole
        always @(posedge CLKA)
            if (CEA & WEA & ~CSA0 & ~CSA1 & ~CSA2) words[write[13:LOW]] <= d[DATA_WIDTH_A-1:0];
    end
endgenerate

always @(posedge CLKB) begin
    if (CEB & ~CSB0 & ~CSB1 & ~CSB2) latch <= words[read[13:LOW]];
    if (RSTB) output_q <= 0;
    else if (OCEB) output_q <= latch;
end

endmodule


// the clock as it comes in, for a simulation does not measure time
module EHXPLLL #(
    parameter CLKI_DIV = 1, CLKFB_DIV = 1, FEEDBK_PATH = "CLKOP", CLKOP_ENABLE = "ENABLED",
    parameter CLKOP_DIV = 8, CLKOP_CPHASE = 0
) (
    input CLKI, CLKFB, RST, STDBY, PHASESEL0, PHASESEL1, PHASEDIR, PHASESTEP, PHASELOADREG,
    input PLLWAKESYNC, ENCLKOP,
    output CLKOP, LOCK
);

assign CLKOP = CLKI;
assign LOCK = 1'b1;

endmodule
