library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;
use std.textio.all;
use std.env.all;

-- Self-checking test bench of an accelerator, as testbench.v: it sends image.hex, waits for
-- status(0), streams input.hex through the accelerator with pseudo-random pauses on both sides,
-- compares with output.hex and prints PASS or FAIL.
entity testbench is
end entity;

architecture behaviour of testbench is

-- sizes

constant PATIENCE: natural := 100000;

signal clk: std_logic := '0';
signal rst: std_logic := '1';
signal config_tdata: unsigned(31 downto 0) := (others => '0');
signal config_tvalid: std_logic := '0';
signal config_tready: std_logic;
signal config_tlast: std_logic := '0';
signal s_axis_tdata: unsigned(INPUT_BITS-1 downto 0) := (others => '0');
signal s_axis_tvalid: std_logic := '0';
signal s_axis_tready: std_logic;
signal s_axis_tlast: std_logic := '0';
signal s_axis_tuser: unsigned(0 downto 0) := "0";
signal m_axis_tdata: unsigned(OUTPUT_BITS-1 downto 0);
signal m_axis_tvalid: std_logic;
signal m_axis_tready: std_logic := '0';
signal m_axis_tlast: std_logic;
signal status: unsigned(7 downto 0);
signal noise: unsigned(15 downto 0) := x"ace1";

begin

dut: entity work.accelerator port map (
    clk => clk, rst => rst, status => status,
    config_tdata => config_tdata, config_tvalid => config_tvalid,
    config_tready => config_tready, config_tlast => config_tlast,
    s_axis_tdata => s_axis_tdata, s_axis_tvalid => s_axis_tvalid, s_axis_tready => s_axis_tready,
    s_axis_tlast => s_axis_tlast, s_axis_tuser => s_axis_tuser,
    m_axis_tdata => m_axis_tdata, m_axis_tvalid => m_axis_tvalid, m_axis_tready => m_axis_tready,
    m_axis_tlast => m_axis_tlast
);

clk <= not clk after 5 ns;

pauses: process (clk)
begin
    if rising_edge(clk) then
        noise <= noise(14 downto 0) & (noise(15) xor noise(13) xor noise(12) xor noise(10));
        m_axis_tready <= or noise(5 downto 3);
    end if;
end process;

stimulus: process
    file source: text;
    variable row: line;
    variable word: std_logic_vector(31 downto 0);
    variable data: std_logic_vector(INPUT_BITS+7 downto 0);
begin
    for cycle in 1 to 8 loop
        wait until rising_edge(clk);
    end loop;
    rst <= '0';
    file_open(source, "image.hex", read_mode);
    for n in 1 to WORDS loop
        readline(source, row);
        hread(row, word);
        while noise(8 downto 6) = 0 loop
            wait until rising_edge(clk);
        end loop;
        config_tvalid <= '1';
        config_tdata <= unsigned(word);
        config_tlast <= '1' when n = WORDS else '0';
        wait until rising_edge(clk) and config_tready = '1';
        config_tvalid <= '0';
    end loop;
    file_close(source);
    wait until rising_edge(clk) and status(0) = '1';
    file_open(source, "input.hex", read_mode);
    for n in 1 to BLOCKS_IN loop
        readline(source, row);
        hread(row, data);
        while noise(2 downto 0) = 0 loop
            wait until rising_edge(clk);
        end loop;
        s_axis_tvalid <= '1';
        s_axis_tuser(0) <= data(INPUT_BITS+4);
        s_axis_tlast <= data(INPUT_BITS);
        s_axis_tdata <= unsigned(data(INPUT_BITS-1 downto 0));
        wait until rising_edge(clk) and s_axis_tready = '1';
        s_axis_tvalid <= '0';
    end loop;
    wait;
end process;

check: process
    file source: text open read_mode is "output.hex";
    variable row: line;
    variable data: std_logic_vector(OUTPUT_BITS+3 downto 0);
    variable received, mismatches, quiet: natural := 0;
    variable refused, dropped: boolean := false;
begin
    while received < BLOCKS_OUT and quiet < PATIENCE and not refused and not dropped loop
        wait until rising_edge(clk);
        quiet := 0 when rst = '1' or config_tvalid = '1' else quiet + 1;
        refused := rst = '0' and status(7 downto 4) /= 0;
        dropped := rst = '0' and status(2) = '1';
        if rst = '0' and m_axis_tvalid = '1' and m_axis_tready = '1' then
            quiet := 0;
            received := received + 1;
            readline(source, row);
            hread(row, data);
            if m_axis_tlast /= data(OUTPUT_BITS)
                or m_axis_tdata /= unsigned(data(OUTPUT_BITS-1 downto 0)) then
                mismatches := mismatches + 1;
            end if;
        end if;
    end loop;
    if refused then
        write(output, "image.hex is refused: error ");
        write(output, integer'image(to_integer(status(7 downto 4))) & LF);
    end if;
    if dropped then
        write(output, "input.hex has a frame of a wrong length" & LF);
    end if;
    write(output, integer'image(received) & " of " & integer'image(BLOCKS_OUT) & " blocks, ");
    write(output, integer'image(mismatches) & " mismatches" & LF);
    if received = BLOCKS_OUT and mismatches = 0 and not refused and not dropped then
        write(output, "PASS" & LF);
    else
        write(output, "FAIL" & LF);
    end if;
    finish;
end process;

end architecture;
