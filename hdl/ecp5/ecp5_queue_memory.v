// hdl.arith.queue_memory in block memories with their output registers: PDPW16KD for up to 512 words,
// else DP16KD of the width that its depth leaves.

`timescale 1ns/1ps

/* verilator lint_off PINMISSING */
/* verilator lint_off WIDTHTRUNC */
module ecp5_queue_memory #(parameter W_ADDRESS = 9, R_ADDRESS = 9, W_DATA = 36, R_DATA = 36) (
    input clk,
    input w_enable,
    input [W_ADDRESS-1:0] w_address,
    input [W_DATA-1:0] w_data,
    input r_enable,
    input [R_ADDRESS-1:0] r_address,
    input q_enable,
    output [R_DATA-1:0] r_data
);

localparam LOW = W_ADDRESS <= 9 ? 5 : W_ADDRESS == 10 ? 4 : W_ADDRESS == 11 ? 3
    : W_ADDRESS == 12 ? 2 : W_ADDRESS == 13 ? 1 : 0;  // address bits within a word of the block
localparam WIDTH = W_ADDRESS <= 9 ? 36 : W_ADDRESS == 10 ? 18 : W_ADDRESS == 11 ? 9
    : W_ADDRESS == 12 ? 4 : W_ADDRESS == 13 ? 2 : 1;
localparam BLOCKS = (W_DATA + WIDTH - 1) / WIDTH;

wire [BLOCKS*WIDTH-1:0] d = {{BLOCKS*WIDTH{1'b0}}, w_data};
wire [BLOCKS*WIDTH-1:0] q;
// the lowest address bits of a wide port enable its bytes
wire [13:0] w = ({14'b0, w_address} << LOW) | (WIDTH >= 18 ? 14'd15 : 14'd0);
wire [13:0] r = {14'b0, r_address} << LOW;

assign r_data = q[R_DATA-1:0];

genvar n;
generate
    for (n = 0; n < BLOCKS; n = n + 1) begin : blocks
        wire [35:0] di = {36'b0, d[n*WIDTH +: WIDTH]};
        wire [35:0] data;
        assign q[n*WIDTH +: WIDTH] = data[WIDTH-1:0];
        if (WIDTH == 36) begin : wide
            wire [8:0] w_at = w[13:5];
            PDPW16KD #(
                .DATA_WIDTH_W(36), .DATA_WIDTH_R(36), .REGMODE("OUTREG"), .GSR("DISABLED")
            ) ram (
                .CLKW(clk), .CEW(w_enable), .CSW0(1'b0), .CSW1(1'b0), .CSW2(1'b0),
                .BE0(1'b1), .BE1(1'b1), .BE2(1'b1), .BE3(1'b1),
                .CLKR(clk), .CER(r_enable), .OCER(q_enable), .CSR0(1'b0), .CSR1(1'b0), .CSR2(1'b0),
                .RST(1'b0),
                .ADW0(w_at[0]), .ADW1(w_at[1]), .ADW2(w_at[2]), .ADW3(w_at[3]), .ADW4(w_at[4]),
                .ADW5(w_at[5]), .ADW6(w_at[6]), .ADW7(w_at[7]), .ADW8(w_at[8]), .ADR0(r[0]),
                .ADR1(r[1]), .ADR2(r[2]), .ADR3(r[3]), .ADR4(r[4]), .ADR5(r[5]), .ADR6(r[6]),
                .ADR7(r[7]), .ADR8(r[8]), .ADR9(r[9]), .ADR10(r[10]), .ADR11(r[11]), .ADR12(r[12]),
                .ADR13(r[13]), .DI0(di[0]), .DI1(di[1]), .DI2(di[2]), .DI3(di[3]), .DI4(di[4]),
                .DI5(di[5]), .DI6(di[6]), .DI7(di[7]), .DI8(di[8]), .DI9(di[9]), .DI10(di[10]),
                .DI11(di[11]), .DI12(di[12]), .DI13(di[13]), .DI14(di[14]), .DI15(di[15]),
                .DI16(di[16]), .DI17(di[17]), .DI18(di[18]), .DI19(di[19]), .DI20(di[20]),
                .DI21(di[21]), .DI22(di[22]), .DI23(di[23]), .DI24(di[24]), .DI25(di[25]),
                .DI26(di[26]), .DI27(di[27]), .DI28(di[28]), .DI29(di[29]), .DI30(di[30]),
                .DI31(di[31]), .DI32(di[32]), .DI33(di[33]), .DI34(di[34]), .DI35(di[35]),
                .DO0(data[0]), .DO1(data[1]), .DO2(data[2]), .DO3(data[3]), .DO4(data[4]),
                .DO5(data[5]), .DO6(data[6]), .DO7(data[7]), .DO8(data[8]), .DO9(data[9]),
                .DO10(data[10]), .DO11(data[11]), .DO12(data[12]), .DO13(data[13]),
                .DO14(data[14]), .DO15(data[15]), .DO16(data[16]), .DO17(data[17]),
                .DO18(data[18]), .DO19(data[19]), .DO20(data[20]), .DO21(data[21]),
                .DO22(data[22]), .DO23(data[23]), .DO24(data[24]), .DO25(data[25]),
                .DO26(data[26]), .DO27(data[27]), .DO28(data[28]), .DO29(data[29]),
                .DO30(data[30]), .DO31(data[31]), .DO32(data[32]), .DO33(data[33]),
                .DO34(data[34]), .DO35(data[35])
            );
        end else begin : narrow
            DP16KD #(
                .DATA_WIDTH_A(WIDTH), .DATA_WIDTH_B(WIDTH), .REGMODE_B("OUTREG"),
                .GSR("DISABLED")
            ) ram (
                .CLKA(clk), .CEA(1'b1), .OCEA(1'b1), .WEA(w_enable), .RSTA(1'b0),
                .CSA0(1'b0), .CSA1(1'b0), .CSA2(1'b0),
                .CLKB(clk), .CEB(r_enable), .OCEB(q_enable), .WEB(1'b0), .RSTB(1'b0),
                .CSB0(1'b0), .CSB1(1'b0), .CSB2(1'b0),
                .ADA0(w[0]), .ADA1(w[1]), .ADA2(w[2]), .ADA3(w[3]), .ADA4(w[4]), .ADA5(w[5]),
                .ADA6(w[6]), .ADA7(w[7]), .ADA8(w[8]), .ADA9(w[9]), .ADA10(w[10]), .ADA11(w[11]),
                .ADA12(w[12]), .ADA13(w[13]), .ADB0(r[0]), .ADB1(r[1]), .ADB2(r[2]), .ADB3(r[3]),
                .ADB4(r[4]), .ADB5(r[5]), .ADB6(r[6]), .ADB7(r[7]), .ADB8(r[8]), .ADB9(r[9]),
                .ADB10(r[10]), .ADB11(r[11]), .ADB12(r[12]), .ADB13(r[13]), .DIA0(di[0]),
                .DIA1(di[1]), .DIA2(di[2]), .DIA3(di[3]), .DIA4(di[4]), .DIA5(di[5]), .DIA6(di[6]),
                .DIA7(di[7]), .DIA8(di[8]), .DIA9(di[9]), .DIA10(di[10]), .DIA11(di[11]),
                .DIA12(di[12]), .DIA13(di[13]), .DIA14(di[14]), .DIA15(di[15]), .DIA16(di[16]),
                .DIA17(di[17]), .DOB0(data[0]), .DOB1(data[1]), .DOB2(data[2]), .DOB3(data[3]),
                .DOB4(data[4]), .DOB5(data[5]), .DOB6(data[6]), .DOB7(data[7]), .DOB8(data[8]),
                .DOB9(data[9]), .DOB10(data[10]), .DOB11(data[11]), .DOB12(data[12]),
                .DOB13(data[13]), .DOB14(data[14]), .DOB15(data[15]), .DOB16(data[16]),
                .DOB17(data[17])
            );
        end
    end
endgenerate

endmodule
