"""Weights that are pruned and on levels, entry by entry: one multiplication a cycle.

A PE has its layer's weights in a memory, as entries in the order of rows, and the activations in
another. An entry goes through a pipeline that counts its column, reads the activation, multiplies
and adds up; at a row's end the sum is scaled, rounded and saturated, and leaves.

The whole pipeline waits while a result is complete and the one before has not been taken. So no
queue is needed, and a reader that is ready once in the cycles of a row costs nothing. It waits by
the enables of registers and memories, which take no LUT; o.ready reaches them without a register.

A product may start when the one before has given all its results; what is around the PE writes the
memories in between.
"""

from dataclasses import dataclass

from myhdl import Signal, always, always_comb, block

from hdl.arith import (
    bit,
    bits,
    constant,
    cut,
    cut_bits,
    join,
    overflow,
    queue_memory,
    shift_left,
    word,
    wrapping,
)
from hdl.config import address_bits
from hdl.module import module
from hdl.pe import end_of_row
from hdl.stream import Stream, output_stage

SPARSE_LATENCY = 11
"""Cycles of a :func:`sparse_pe` beside those of its entries."""


@dataclass(frozen=True)
class SparseConfig:
    """What a :func:`sparse_pe` is elaborated from.

    Attributes:
        activation, output, level, gap, scale: word lengths.
        shift: bits that the rounding of a row drops.
        accumulator: bits of a row's sum.
        entries, columns, rows: that its memories hold.
    """

    activation: int
    output: int
    level: int
    gap: int
    scale: int
    shift: int
    accumulator: int
    entries: int
    columns: int
    rows: int

    @classmethod
    def of(cls, layer):
        """Return what holds an :class:`ernn.quantize.sparse.IntegerSparse`, and no more."""
        rows, columns = layer.levels.shape
        return cls(
            layer.input.word_length,
            layer.output.word_length,
            layer.level_bits,
            layer.gap_bits,
            layer.weight.word_length,
            layer.shift,
            layer.accumulator_length,
            len(layer.entries()),
            columns,
            rows,
        )

    @property
    def entry(self):
        """Bits of an entry."""
        return self.level + self.gap + 1

    def memories(self):
        """Return the write side of each memory, by its port."""
        return {
            "w": Write(self.entries, self.entry),
            "x": Write(self.columns, self.activation),
            "bias": Write(self.rows, self.output),
        }


class Write:
    """The write side of a memory of ``depth`` words of ``width`` bits."""

    def __init__(self, depth, width):
        self.enable, self.address, self.data = bit(), bits(address_bits(depth)), bits(width)


def sparse_arguments(cfg):
    """The arguments of :func:`sparse_pe`: signals for its ports, and its configuration."""
    memories = cfg.memories()
    return {
        **{"clk": bit(), "rst": bit(), "start": bit()},
        **{"last_entry": bits(len(memories["w"].address)), "scale": word(cfg.scale)},
        **memories,
        **{"o": Stream(cfg.output), "cfg": cfg},
    }


def sparse_words(layer):
    """What the memories hold of an ``IntegerSparse``, by their ports; frames aside."""
    return {"w": layer.entries(), "bias": layer.bias.tolist()}


@module
def sparse_pe(clk, rst, start, last_entry, scale, w, x, bias, o, cfg):
    """A layer of pruned weights on levels, y = s L x + b, an entry a cycle.

    Equals :meth:`ernn.quantize.sparse.IntegerSparse.run` bit for bit.

    Latency, resources
        From start to the last result, E + ``SPARSE_LATENCY`` cycles for E entries, fillers among
        them, and those in which it waits for o. 1 DSP adds up, and 1 scales sums of up to 25 bits,
        2 longer ones; at most 3 (output + column address) + level + gap LUTs, and for the second
        DSP 2 (accumulator + scale) more; its memories are 9 bits an entry with the usual 4 + 4.

    Ports
        start : begins a product
        last_entry : the address of the layer's last entry
        scale : s, a word; it stays, as ``last_entry`` does
        w : Write(cfg.entries, cfg.entry), words of :meth:`IntegerSparse.entries`
        x : Write(cfg.columns, cfg.activation), a frame
        bias : Write(cfg.rows, cfg.output), of each row
        o : Stream(cfg.output), a result of each row

    Sources: Ren et al., ADMM-NN, ASPLOS 2019; Han et al., EIE, ISCA 2016.
    """
    move, valid, last, begins, filler, filler_late = (bit() for _ in range(6))
    ends, ends_late, begins_late, done = (bit() for _ in range(4))
    entry, gap = bits(cfg.entry), bits(cfg.gap)
    code, code_late, level = word(cfg.level), word(cfg.level), word(cfg.level + 1)
    activation = word(cfg.activation)
    total = word(cfg.accumulator)
    product, base = word(cfg.accumulator + cfg.scale), word(cfg.output + cfg.shift)
    y = word(max(len(product), len(base)) + 1)

    @always_comb
    def name_level():
        if code_late < 0:
            level.next = code_late
        else:
            level.next = code_late + 1

    @always(clk.posedge)
    def scaled():
        if move:
            product.next = total * scale
            y.next = product + base

    return (
        walk(clk, rst, move, start, last_entry, w, entry, bits(1), valid, 1),
        cut(entry, code, 0, cfg.level),
        cut_bits(entry, gap, cfg.level, cfg.gap),
        cut_bits(entry, last, cfg.level + cfg.gap, 1),
        is_filler(gap, filler),
        end_of_row(valid, last, ends),
        read_activation(clk, move, start, valid, ends, gap, filler, begins, x, activation),
        keep(clk, move, code, code_late, 3),
        keep(clk, move, filler, filler_late, 3),
        keep(clk, move, begins, begins_late, 3),
        name_level,
        add_product(clk, move, activation, level, filler_late, begins_late, 0, total),
        scaled,
        keep_reset(clk, rst, move, ends, ends_late, 5),
        read_bias(clk, start, move, ends_late, bias, base, cfg.shift),
        keep_reset(clk, rst, move, ends_late, done, 3),
        give(clk, rst, y, done, move, o, cfg.shift),
    )


# ------------------------------------------------------------------------------------------ entries


@block
def walk(clk, rst, move, start, last_entry, w, entry, step, valid, steps):
    """Read the entries from 0 to ``last_entry``, each for ``steps`` cycles, 3 cycles after start.

    Ports
        w : Write of the memory
        entry, step, valid : the word, which of its cycles it is, and whether there is one
    """
    address, count, running = wrapping(len(w.address)), bits(len(step)), bit()
    enable, w_address, w_data = w.enable, w.address, w.data
    final = steps - 1
    depth = 1 << len(w.address)

    @always(clk.posedge)
    def go_on():
        if rst:
            running.next = 0
        elif start:
            running.next = 1
            address.next = 0
            count.next = 0
        elif move:
            if count == final:
                count.next = 0
                address.next = address + 1
                if address == last_entry:
                    running.next = 0
            else:
                count.next = count + 1

    return (
        go_on,
        queue_memory(clk, enable, w_address, w_data, move, address, move, entry, depth),
        keep(clk, move, count, step, 2),
        keep_reset(clk, rst, move, running, valid, 2),
    )


@block
def is_filler(gap, filler):
    """The largest gap places nothing. No register."""
    largest = (1 << len(gap)) - 1

    @always_comb
    def compare():
        filler.next = gap == largest

    return compare


@block
def read_activation(clk, move, start, valid, ends, skip, filler, begins, x, activation):
    """Count the columns up, and read the activation of each, 3 cycles later.

    Ports
        ends : the row's last cycle
        skip : columns before this one; what is no ``filler`` goes one further
        begins : the row's first cycle, in that cycle
        x : Write of the activations
        activation : a word
    """
    length = max(len(x.address), len(skip))
    column, before, at = wrapping(length), wrapping(length), bits(len(x.address))
    one, data = bits(1), bits(len(activation))
    enable, w_address, w_data = x.enable, x.address, x.data
    minus_one = (1 << length) - 1

    @always_comb
    def go_on_from():
        one.next = not filler
        if begins:
            before.next = minus_one
        else:
            before.next = column

    @always(clk.posedge)
    def count():
        if move:
            column.next = before + skip + one

    @always(clk.posedge)
    def begin():
        if start:
            begins.next = 1
        elif move and valid:
            begins.next = ends

    return (
        go_on_from,
        count,
        begin,
        cut_bits(column, at, 0, len(at)),
        queue_memory(clk, enable, w_address, w_data, move, at, move, data, 1 << len(at)),
        cut(data, activation, 0, len(activation)),
    )


# ----------------------------------------------------------------------------------------- products


@block
def add_product(clk, move, a, b, clear, begins, base, total):
    """Base and the products a * b of a row added up in one DSP, 3 cycles later.

    Ports
        a, b : words
        clear : the product is 0
        begins : the row's first product
        base : a constant, or a word 2 cycles after its row's first product
        total : the sum with this product
    """
    a_late, b_late, product = word(len(a)), word(len(b)), word(len(a) + len(b))
    before, begins_late = word(len(total)), bit()

    @always(clk.posedge)
    def multiply():
        if move:
            if clear:
                a_late.next = 0
            else:
                a_late.next = a
            b_late.next = b
            product.next = a_late * b_late

    @always_comb
    def feedback():
        if begins_late:
            before.next = base
        else:
            before.next = total

    @always(clk.posedge)
    def accumulate():
        if move:
            total.next = before + product

    return multiply, feedback, accumulate, keep(clk, move, begins, begins_late, 2)


# --------------------------------------------------------------------------------------------- rows


@block
def read_bias(clk, start, move, ends, bias, base, shift):
    """Read the biases one after another: what a row's sum is added to or begins with.

    With :func:`give` of the sum, it equals :func:`ernn.quantize.sparse.row_end` bit for bit: base
    is the bias before the shift, and the half that rounds.

    Ports
        ends : the row's last cycle; the base of a row comes 2 cycles after its cycles
        bias : Write of the biases
        base : a word longer than a bias by ``shift``
    """
    row, data = wrapping(len(bias.address)), bits(len(bias.data))
    value = word(len(data))
    enable, w_address, w_data = bias.enable, bias.address, bias.data

    @always(clk.posedge)
    def count():
        if start:
            row.next = 0
        elif move and ends:
            row.next = row + 1

    return (
        count,
        queue_memory(clk, enable, w_address, w_data, move, row, move, data, 1 << len(row)),
        cut(data, value, 0, len(value)),
        shift_left(value, base, shift, constant(1 << (shift - 1))),
    )


@block
def give(clk, rst, total, done, move, o, shift):
    """Drop ``shift`` bits of a row's total, saturate and pass it on; tell all when to ``move``.

    One cycle from total to o.

    Ports
        done : the total is complete
        move : the pipeline before goes on
        o : Stream of results
    """
    length = len(o.data)
    exact, y = word(len(total) - shift), word(length)
    sign = len(exact) - 1
    over, ready, take = (bit() for _ in range(3))
    highest = constant((1 << (length - 1)) - 1)
    lowest = -highest - 1

    @always_comb
    def wait():
        move.next = ready or not done

    @always(clk.posedge)
    def store():
        if take:
            if not over:
                y.next = exact[length:].signed()
            elif exact[sign]:
                y.next = lowest
            else:
                y.next = highest

    return (
        cut(total, exact, shift, len(exact)),
        overflow(exact, over, length),
        output_stage(clk, rst, done, ready, take, o.valid, o.ready),
        wait,
        store,
        join([y], o.data),
    )


# ------------------------------------------------------------------------------------------- delays


@block
def keep(clk, move, d, q, cycles):
    """A vector, a word or a bit ``cycles`` moves later."""
    if cycles > 1:
        middle = Signal(d.val)
        return keep(clk, move, d, middle, 1), keep(clk, move, middle, q, cycles - 1)

    @always(clk.posedge)
    def store():
        if move:
            q.next = d

    return store


@block
def keep_reset(clk, rst, move, d, q, cycles):
    """A bit ``cycles`` moves later; after a reset 0."""
    if cycles > 1:
        middle = bit()
        return (
            keep_reset(clk, rst, move, d, middle, 1),
            keep_reset(clk, rst, move, middle, q, cycles - 1),
        )

    @always(clk.posedge)
    def store():
        if rst:
            q.next = 0
        elif move:
            q.next = d

    return store
