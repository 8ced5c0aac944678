// The top of an ULX3S: a PLL makes the clock of the board (hdl.board.board) from 25 MHz.

`timescale 1ns/1ps

module ulx3s #(parameter CLKI_DIV = 1, CLKFB_DIV = 6, CLKOP_DIV = 4) (
    input clk_25mhz,
    input ftdi_txd,
    output ftdi_rxd,
    input btn_pwrn,
    output [7:0] led
);

wire clk, locked;

/* verilator lint_off PINMISSING */
(* ICP_CURRENT="12" *) (* LPF_RESISTOR="8" *)
(* MFG_ENABLE_FILTEROPAMP="1" *) (* MFG_GMCREF_SEL="2" *)
EHXPLLL #(
    .CLKI_DIV(CLKI_DIV), .CLKFB_DIV(CLKFB_DIV), .FEEDBK_PATH("CLKOP"),
    .CLKOP_ENABLE("ENABLED"), .CLKOP_DIV(CLKOP_DIV), .CLKOP_CPHASE(CLKOP_DIV / 2)
) pll (
    .CLKI(clk_25mhz), .CLKFB(clk), .CLKOP(clk), .LOCK(locked), .RST(1'b0), .STDBY(1'b0),
    .PHASESEL0(1'b0), .PHASESEL1(1'b0), .PHASEDIR(1'b1), .PHASESTEP(1'b1), .PHASELOADREG(1'b1),
    .PLLWAKESYNC(1'b0), .ENCLKOP(1'b0)
);
/* verilator lint_on PINMISSING */

board board (
    .clk(clk), .reset_n(btn_pwrn & locked), .rx(ftdi_txd), .tx(ftdi_rxd), .leds(led)
);

endmodule
