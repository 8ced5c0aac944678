library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;
use std.textio.all;
use std.env.all;

-- Self-checking test bench of a core, as testbench.v: it loads image.hex, streams input.hex through
-- the core, compares with output.hex and prints PASS or FAIL.
entity testbench is
end entity;

architecture behaviour of testbench is

-- sizes

constant PATIENCE: natural := 100000;

signal clk: std_logic := '0';
signal rst: std_logic := '1';
signal load_valid: std_logic := '0';
signal load_address: unsigned(ADDRESS_WIDTH-1 downto 0) := (others => '0');
signal load_data: unsigned(LOAD_WIDTH-1 downto 0) := (others => '0');
signal i_valid: std_logic := '0';
signal i_ready: std_logic;
signal i_data: unsigned(BLOCK_WIDTH-1 downto 0) := (others => '0');
signal i_first: std_logic := '0';
signal o_valid: std_logic;
signal o_ready: std_logic := '0';
signal o_data: unsigned(BLOCK_WIDTH-1 downto 0);
signal o_last: std_logic;
signal parity: std_logic_vector(PARITY_OF_IMAGE'range) := (others => '0');

begin

dut: entity work.core port map (
    clk => clk, rst => rst,
    load_valid => load_valid, load_address => load_address, load_data => load_data,
    i_valid => i_valid, i_ready => i_ready, i_data => i_data, i_first => i_first,
    o_valid => o_valid, o_ready => o_ready, o_data => o_data, o_last => o_last
);

clk <= not clk after 5 ns;

stimulus: process
    file source: text;
    variable row: line;
    variable word: std_logic_vector(PARITY_OF_IMAGE'range);
    variable data: std_logic_vector(4*BLOCK_DIGITS+3 downto 0);
begin
    for cycle in 1 to 8 loop
        wait until rising_edge(clk);
    end loop;
    rst <= '0';
    file_open(source, "image.hex", read_mode);
    for n in 1 to LOADS loop
        readline(source, row);
        hread(row, word);
        parity <= parity xor word;
        load_valid <= '1';
        load_address <= unsigned(word(4*LOAD_DIGITS+ADDRESS_WIDTH-1 downto 4*LOAD_DIGITS));
        load_data <= unsigned(word(LOAD_WIDTH-1 downto 0));
        wait until rising_edge(clk);
    end loop;
    file_close(source);
    load_valid <= '0';
    file_open(source, "input.hex", read_mode);
    for n in 1 to BLOCKS_IN loop
        readline(source, row);
        hread(row, data);
        i_valid <= '1';
        i_first <= data(4*BLOCK_DIGITS);
        i_data <= unsigned(data(BLOCK_WIDTH-1 downto 0));
        wait until rising_edge(clk) and i_ready = '1';
    end loop;
    i_valid <= '0';
    wait;
end process;

check: process
    file source: text;
    variable row: line;
    variable data: std_logic_vector(4*BLOCK_DIGITS+3 downto 0);
    variable mismatches: natural := 0;
    variable quiet: natural := 0;
begin
    file_open(source, "output.hex", read_mode);
    for n in 1 to BLOCKS_OUT loop
        quiet := 0;
        loop
            o_ready <= not o_ready;
            wait until rising_edge(clk);
            exit when o_ready = '1' and o_valid = '1';
            quiet := quiet + 1;
            if quiet = PATIENCE then
                write(output, "no output" & LF & "FAIL" & LF);
                finish;
            end if;
        end loop;
        readline(source, row);
        hread(row, data);
        if o_last /= data(4*BLOCK_DIGITS) or o_data /= unsigned(data(BLOCK_WIDTH-1 downto 0)) then
            mismatches := mismatches + 1;
        end if;
    end loop;
    write(output, integer'image(BLOCKS_OUT) & " blocks, ");
    write(output, integer'image(mismatches) & " mismatches" & LF);
    if parity /= PARITY_OF_IMAGE then
        write(output, "image.hex is not the image that output.hex belongs to" & LF);
    end if;
    if mismatches = 0 and parity = PARITY_OF_IMAGE then
        write(output, "PASS" & LF);
    else
        write(output, "FAIL" & LF);
    end if;
    finish;
end process;

end architecture;
