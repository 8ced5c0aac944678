"""The circulant core: one recurrent layer on R PEs.

    i -> FFT -> spectrum memory -> operands -> R PEs -> 4 chains -> round, inverse FFT -> cells
          ^                                                                                 |
          +--------------------------------------- h ---------------------------------------+-> o

A frame is ``passes`` times q columns, in each cycle one column and a block product a PE; the sums
of a pass leave over the drain chains under the next pass. The rows are interleaved, so that the
four chains give the four gates of a cell block in one cycle, and a cell block a cycle goes through
all that follows.
"""

from types import SimpleNamespace

from myhdl import Signal, always, always_comb, block, concat, intbv

from hdl.arith import MEMORY_LATENCY, bit, bits, join, memory, split, wire, words
from hdl.cell import GRU_LATENCY, gru_lane, lstm_lane, lstm_latency
from hdl.fft import fft_latency, irfft, irfft_latency, rfft
from hdl.module import module
from hdl.pe import (
    CAPTURE_DELAY,
    COMBINE_LATENCY,
    OPERANDS_LATENCY,
    WEIGHT_LEAD,
    combine,
    operand_bits,
    operands,
    pe,
    sums_bits,
)
from hdl.program import GATES, address_bits
from hdl.sequencer import (
    Command,
    Progress,
    Tags,
    counter,
    delay_control,
    drain,
    intake,
    sequencer,
    spectrum_writer,
)
from hdl.stream import Stream, fifo

# modules of their own where the core is converted
rfft, pe, lstm_lane, gru_lane = (module(b.func) for b in (rfft, pe, lstm_lane, gru_lane))

BUS_DELAY = MEMORY_LATENCY + OPERANDS_LATENCY
"""Cycles from the sequencer's command to the PEs' operand bus."""


def gate_latency(cfg):
    """Cycles from sums to pre-activations of :func:`gate`."""
    return COMBINE_LATENCY + irfft_latency(cfg.block_size)


def cell_latency(cfg):
    """Cycles from pre-activations to the new state."""
    return lstm_latency(cfg.peephole) if cfg.kind == "lstm" else GRU_LATENCY


def state_latency(cfg):
    """Cycles from a pass's last block product to the first product with the state that it gives."""
    command, head, entry, store = 1, 1, 1, 1
    to_sums = command + BUS_DELAY + CAPTURE_DELAY + head
    to_state = gate_latency(cfg) + cell_latency(cfg)
    return to_sums + to_state + entry + fft_latency(cfg.block_size) + store


def frame_cycles(cfg):
    """Cycles from frame to frame when neither input nor output makes the core wait.

    The state that the last pass gives is wanted by the next frame after its q_x input columns and
    the columns of the cell blocks that the passes before gave.
    """
    hidden_by = cfg.input_blocks + (cfg.passes - 1) * cfg.drain
    return cfg.weight_words + max(0, state_latency(cfg) - 1 - hidden_by)


def utilization(cfg):
    """Share of the PEs' cycles that do a block product of the layer, frames without a wait."""
    return cfg.block_products / (cfg.n_pe * frame_cycles(cfg))


@block
def core(
    clk,
    rst,
    load_valid,
    load_address,
    load_data,
    i_valid,
    i_ready,
    i_data,
    i_first,
    o_valid,
    o_ready,
    o_data,
    o_last,
    cfg,
):
    """One recurrent layer, for as many frames as are streamed in.

    Equals ``run`` of the integer layer that ``cfg`` and the image were made of bit for bit,
    utterance after utterance.

    Latency, resources
        ``frame_cycles(cfg)`` from frame to frame; R PEs, one FFT, four inverse FFTs, k cell lanes,
        whose DSPs are all that there are; memories of the spectra, biases, states and outputs.

    Ports
        rst : synchronous, active high; what was loaded stays
        load_valid, load_address, load_data : takes a word of :func:`hdl.program.load_image` in
            every cycle, all of them before the first frame
        i_valid, i_ready, i_data, i_first : stream of blocks of k words of A bits, the q_x blocks of
            a frame in order; i_first is set on all blocks of an utterance's first frame
        o_valid, o_ready, o_data, o_last : stream of blocks of k words of A bits, the p blocks of a
            frame in order; o_last marks the last one
    """
    i = SimpleNamespace(valid=i_valid, ready=i_ready, data=i_data, first=i_first)
    o = SimpleNamespace(valid=o_valid, ready=o_ready, data=o_data, last=o_last)
    load, command, sums, h = Load(cfg), Command(), Sums(cfg), State(cfg)
    spectrum, o_taken = bits(cfg.block_size * cfg.input_spectrum_length), bit()
    return (
        load_port(clk, load_valid, load_address, load_data, load),
        spectra(clk, rst, i, h, o_taken, command, spectrum, cfg),
        products(clk, rst, load, command, spectrum, sums, cfg),
        cells(clk, rst, load, sums, h, cfg),
        output(clk, rst, h, o, o_taken, cfg),
    )


def core_arguments(cfg):
    """The arguments of :func:`core`: signals for its ports, and its configuration."""
    block = cfg.block_size * cfg.activation_length
    widths = {
        **dict.fromkeys(("clk", "rst", "load_valid"), 1),
        "load_address": cfg.load_address_bits,
        "load_data": cfg.load_data_bits,
        **{"i_valid": 1, "i_ready": 1, "i_data": block, "i_first": 1},
        **{"o_valid": 1, "o_ready": 1, "o_data": block, "o_last": 1},
    }
    signals = {
        name: Signal(bool(0)) if width == 1 else Signal(intbv(0)[width:])
        for name, width in widths.items()
    }
    return signals | {"cfg": cfg}


class Load:
    """What the load port writes into memories: ``address``, ``data``, an enable for each unit."""

    def __init__(self, cfg):
        self.enables = [bit() for _ in range(cfg.units)]
        self.weights = self.enables[: cfg.n_pe]
        self.biases = self.enables[cfg.n_pe : cfg.n_pe + GATES]
        self.peepholes = self.enables[cfg.n_pe + GATES :]
        self.address = bits(cfg.unit_address_bits)
        self.data = bits(cfg.load_data_bits)


class Sums:
    """The sums of the gates of a cell block, one of each PE, at the heads of the drain chains.

    ``fresh``: they are of the first frame of an utterance.
    """

    def __init__(self, cfg):
        self.valid, self.fresh = bit(), bit()
        self.heads = [bits(sums_bits(cfg)) for _ in range(GATES)]


class State:
    """The hidden state of a cell block; ``last``: of a frame's last one."""

    def __init__(self, cfg):
        self.valid, self.last = bit(), bit()
        self.data = bits(cfg.block_size * cfg.activation_length)


@block
def load_port(clk, valid, address, data, load):
    """Register the load port and select the unit that takes the word: two cycles."""
    valid_q, address_q, data_q = bit(), bits(len(address)), bits(len(data))
    o_address, o_data, address_length = load.address, load.data, len(load.address)

    @always(clk.posedge)
    def registers():
        valid_q.next = valid
        address_q.next = address
        data_q.next = data
        o_address.next = address_q[address_length:]
        o_data.next = data_q

    units = [
        select_unit(clk, valid_q, address_q, enable, unit, address_length)
        for unit, enable in enumerate(load.enables)
    ]
    return registers, units


@block
def select_unit(clk, valid, address, enable, unit, address_length):
    """Enable follows a valid address of this unit by one cycle."""
    top = len(address)

    @always(clk.posedge)
    def compare():
        enable.next = valid and address[top:address_length] == unit

    return compare


@block
def low_bits(wide, narrow):
    """Take the low bits of a vector. No register."""
    length = len(narrow)

    @always_comb
    def take():
        narrow.next = wide[length:]

    return take


@block
def spectra(clk, rst, i, h, o_taken, command, spectrum, cfg):
    """From the blocks of input and state to the spectra of the columns, in the sequencer's order.

    Ports
        i : the input stream
        h : the state, as :func:`cells` gives it
        o_taken : a block has left the core
        command : what to do
        spectrum : of the command's column, ``MEMORY_LATENCY`` cycles after it
    """
    k, tags_in, tags_out, progress = cfg.block_size, Tags(), Tags(), Progress(cfg)
    x, X = bits(len(i.data)), bits(len(spectrum))
    write, release, clear = bit(), bit(), bit()
    w_address, r_address = (bits(1 + len(progress.h_column)) for _ in range(2))
    return (
        intake(clk, rst, i, h, release, x, tags_in, cfg),
        rfft(clk, x, X, k, cfg.activation_length),
        delay_control(clk, rst, tags_in.x, tags_out.x, fft_latency(k)),
        delay_control(clk, rst, tags_in.h, tags_out.h, fft_latency(k)),
        delay_control(clk, rst, tags_in.first, tags_out.first, fft_latency(k)),
        spectrum_writer(clk, rst, tags_out, write, w_address, progress, cfg),
        sequencer(clk, rst, progress, o_taken, release, r_address, command, cfg),
        delay_control(clk, rst, command.fresh, clear, 1),
        memory(clk, write, w_address, X, r_address, spectrum, 1 << len(r_address), clear),
    )


@block
def products(clk, rst, load, command, spectrum, sums, cfg):
    """The PEs and their drain chains.

    PEs g, 4 + g, 8 + g, ... are chain g; their sums leave in this order.

    Ports
        load : the weights
        command, spectrum : as :func:`spectra` gives them
        sums : what leaves
    """
    w_address, r_address = (bits(address_bits(cfg.weight_words)) for _ in range(2))
    w_data = bits(cfg.block_size * cfg.weight_length)
    operand_bus = bits(operand_bits(cfg))
    step, row_first, row_enable, capture, capture_fresh, last_word = (bit() for _ in range(6))
    chain = [*sums.heads, *(bits(sums_bits(cfg)) for _ in range(cfg.n_pe - GATES))]
    behind = [*chain[GATES:], *chain[-GATES:]]  # nothing that counts comes after the last
    pes = [
        pe(
            clk,
            load.weights[n],
            w_address,
            w_data,
            r_address,
            operand_bus,
            row_first,
            row_enable,
            capture,
            behind[n],
            chain[n],
            cfg,
        )
        for n in range(cfg.n_pe)
    ]
    return (
        low_bits(load.address, w_address),
        low_bits(load.data, w_data),
        operands(clk, spectrum, operand_bus, cfg),
        delay_control(clk, rst, command.enable, step, BUS_DELAY - WEIGHT_LEAD),
        counter(clk, rst, step, r_address, last_word, cfg.weight_words),
        delay_control(clk, rst, command.first, row_first, BUS_DELAY),
        delay_control(clk, rst, command.enable, row_enable, BUS_DELAY),
        delay_control(clk, rst, command.last, capture, BUS_DELAY + CAPTURE_DELAY),
        delay_control(clk, rst, command.fresh, capture_fresh, BUS_DELAY + CAPTURE_DELAY),
        pes,
        drain(clk, rst, capture, capture_fresh, sums.valid, sums.fresh, cfg),
    )


@block
def cells(clk, rst, load, sums, h, cfg):
    """From the sums of the gates of a cell block to its hidden state.

    Biases, peephole weights and the state before are read while the sums are rounded.

    Ports
        load : biases and peephole weights
        sums : as :func:`products` gives them
        h : the hidden state, zero beyond the hidden size
    """
    k, p = cfg.block_size, cfg.hidden_blocks
    w_address, r_block, w_block = (bits(address_bits(p)) for _ in range(3))
    read, r_last, clear = bit(), bit(), bit()
    ahead = gate_latency(cfg) - MEMORY_LATENCY
    control = [
        delay_control(clk, rst, sums.valid, read, ahead),
        delay_control(clk, rst, sums.fresh, clear, ahead + 1),
        delay_control(clk, rst, read, h.valid, MEMORY_LATENCY + cell_latency(cfg)),
        counter(clk, rst, read, r_block, r_last, p),
        counter(clk, rst, h.valid, w_block, h.last, p),
    ]
    biases = [bits(k * cfg.preactivation_length) for _ in load.biases]
    peepholes = [bits(k * cfg.peephole_length) for _ in load.peepholes]
    parameters = [low_bits(load.address, w_address)]
    for w_enable, r_data in zip(load.biases + load.peepholes, biases + peepholes, strict=True):
        w_data = bits(len(r_data))
        parameters.append(low_bits(load.data, w_data))
        parameters.append(memory(clk, w_enable, w_address, w_data, r_block, r_data, p))
    z = [bits(k * cfg.preactivation_length) for _ in range(GATES)]
    state, new_state = bits(k * cfg.state_length), bits(k * cfg.state_length)
    padded = bits(len(h.data))
    return (
        control,
        parameters,
        [gate(clk, head, z_gate, cfg) for head, z_gate in zip(sums.heads, z, strict=True)],
        memory(clk, h.valid, w_block, new_state, r_block, state, p, clear),
        lanes(clk, z, biases, peepholes, state, new_state, padded, cfg),
        mask(padded, h.last, h.data, (cfg.hidden_size - k * (p - 1)) * cfg.activation_length),
    )


@module
def gate(clk, sums, z, cfg):
    """From the sums of a block row to its pre-activations: ``gate_latency`` cycles, a row a cycle.

    Equals :func:`ernn.fixed.round_spectrum` and then :func:`ernn.fixed.inverse` bit for bit.
    """
    spectrum = bits(cfg.block_size * cfg.spectrum_length)
    output = cfg.formats.cell.preactivation
    return (
        combine(clk, sums, spectrum, cfg),
        irfft(clk, spectrum, z, cfg.block_size, output),
    )


@block
def lanes(clk, z, biases, peepholes, state, new_state, h, cfg):
    """The k cells of a block side by side: ``cell_latency`` cycles, a block a cycle."""
    k, formats = cfg.block_size, cfg.formats.cell
    P = cfg.preactivation_length
    zs, bs = ([words(k, P) for _ in range(GATES)] for _ in range(2))
    ps = [words(k, cfg.peephole_length) for _ in peepholes]
    states, new_states = words(k, cfg.state_length), words(k, cfg.state_length)
    buses, parts = [*z, *biases, *peepholes, state], [*zs, *bs, *ps, states]
    packing = [split(bus, part) for bus, part in zip(buses, parts, strict=True)]
    packing.append(join(new_states, new_state))
    gates = [[part[n] for part in (*zs, *bs)] for n in range(k)]
    if cfg.kind == "gru":
        cell = [gru_lane(clk, *gates[n], states[n], new_states[n], formats) for n in range(k)]
        return packing, cell, wire(new_state, h)

    hs = words(k, cfg.activation_length)
    cell = [
        lstm_lane(
            clk,
            *gates[n],
            states[n],
            hs[n],
            new_states[n],
            formats,
            cfg.cell_activation,
            *(p[n] for p in ps),
        )
        for n in range(k)
    ]
    return packing, cell, join(hs, h)


@block
def mask(padded, last, h, used):
    """Zero all but the ``used`` low bits of the last block. No register."""
    length = len(h)
    if used == length:
        return wire(padded, h)

    @always_comb
    def clear():
        h.next = padded
        if last:
            h.next[length:used] = 0

    return clear


@block
def output(clk, rst, h, o, o_taken, cfg):
    """Queue the hidden states; the sequencer starts no frame that finds no room.

    Ports
        h : as :func:`cells` gives it
        o : the output stream
        o_taken : a block leaves
    """
    length = len(h.data)
    queue_i, queue_o = Stream(length + 1), Stream(length + 1)
    queue_i.valid, queue_o.valid, queue_o.ready = h.valid, o.valid, o.ready

    @always_comb
    def pack():
        queue_i.data.next = concat(h.last, h.data)

    @always_comb
    def unpack():
        o.data.next = queue_o.data[length:]
        o.last.next = queue_o.data[length]
        o_taken.next = o.valid and o.ready

    return pack, unpack, fifo(clk, rst, queue_i, queue_o, cfg.fifo_depth)
