"""A layer weight by weight: each is rebuilt from its basis by shifts and additions, and multiplied.

The pipeline, its memories and its end of a row are those of :mod:`hdl.sparse`; an entry here is a
row of coefficients and stays for as many cycles as the basis has columns. In each it meets one
column, every coefficient one word of it, and gives one weight. So one multiplier is busy in every
cycle, what rebuilds is as wide as a row of coefficients, and neither weights nor bases are held
anywhere: to rebuild a whole row of weights at a time would take a shifter and an adder for each
word of the basis, and as many multipliers as it has columns.
"""

from dataclasses import dataclass

from myhdl import always, always_comb, block

from ernn.quantize.shift_add import largest_shift, weight_length
from hdl.arith import (
    bit,
    bits,
    cut,
    cut_bits,
    queue_memory,
    shift_left_by,
    wire,
    word,
    wrapping,
)
from hdl.module import module
from hdl.pe import add_at_once
from hdl.sparse import (
    Write,
    add_product,
    give,
    is_filler,
    keep,
    keep_reset,
    read_activation,
    read_bias,
    walk,
)
from hdl.stream import Stream

SHIFT_ADD_LATENCY = 9
"""Cycles of a :func:`shift_add_pe` beside those of its entries."""


@dataclass(frozen=True)
class ShiftAddConfig:
    """What a :func:`shift_add_pe` is elaborated from.

    Attributes:
        activation, output, coefficient, basis, gap: word lengths.
        size: coefficients of an entry, rows and columns of a basis.
        shift: bits that the rounding of a row drops.
        accumulator: bits of a row's sum.
        entries, bases, columns, rows: that its memories hold.
    """

    activation: int
    output: int
    coefficient: int
    basis: int
    gap: int
    size: int
    shift: int
    accumulator: int
    entries: int
    bases: int
    columns: int
    rows: int

    @classmethod
    def of(cls, layer):
        """Return what holds an :class:`ernn.quantize.shift_add.IntegerShiftAdd`, and no more."""
        return cls(
            layer.input.word_length,
            layer.output.word_length,
            layer.bits,
            layer.weight.word_length,
            layer.gap_bits,
            layer.size,
            layer.shift,
            layer.accumulator_length,
            len(layer.entries()),
            max(1, len(layer.basis_words()) // layer.size),
            -(-layer.input_size // layer.size) * layer.size,
            len(layer.bias),
        )

    @property
    def entry(self):
        """Bits of an entry."""
        return self.size * self.coefficient + self.gap + 2

    @property
    def weight(self):
        """Bits of a weight that is rebuilt."""
        return weight_length(self.size, self.coefficient, self.basis)

    def memories(self):
        """Return the write side of each memory, by its port."""
        return {
            "w": Write(self.entries, self.entry),
            "basis": Write(self.bases * self.size, self.size * self.basis),
            "x": Write(self.columns, self.activation),
            "bias": Write(self.rows, self.output),
        }


def shift_add_arguments(cfg):
    """The arguments of :func:`shift_add_pe`: signals for its ports, and its configuration."""
    memories = cfg.memories()
    return {
        **{"clk": bit(), "rst": bit(), "start": bit()},
        **{"last_entry": bits(len(memories["w"].address))},
        **memories,
        **{"o": Stream(cfg.output), "cfg": cfg},
    }


def shift_add_words(layer):
    """What the memories hold of an ``IntegerShiftAdd``, by their ports; frames aside."""
    return {"w": layer.entries(), "basis": layer.basis_words(), "bias": layer.bias.tolist()}


@module
def shift_add_pe(clk, rst, start, last_entry, w, basis, x, bias, o, cfg):
    """A layer of powers of two times small bases, y = W x + b, W = C B, a weight a cycle.

    Equals :meth:`ernn.quantize.shift_add.IntegerShiftAdd.run` bit for bit.

    Latency, resources
        From start to the last result, size * E + ``SHIFT_ADD_LATENCY`` cycles for E entries,
        fillers among them, and those in which it waits for o. 1 DSP, up to 25 bits of a weight and
        18 of an activation, adds up, from the bias on: the bases share a scale that is a power of
        two, so that nothing is left to multiply at a row's end. At most 4 (basis + largest shift +
        1) LUTs a coefficient and 2 (output + column address) beside them, with 2**gap of a size
        that is no power of two.

    Ports
        start : begins a product
        last_entry : the address of the layer's last entry; it stays
        w : Write(cfg.entries, cfg.entry), words of :meth:`IntegerShiftAdd.entries`
        basis : Write(cfg.bases * cfg.size, cfg.size * cfg.basis), words of
            :meth:`IntegerShiftAdd.basis_words`
        x : Write(cfg.columns, cfg.activation), a frame; what fills it up to whole entries is 0
        bias : Write(cfg.rows, cfg.output), of each row
        o : Stream(cfg.output), a result of each row

    Source: Chen et al., SmartDeal, arXiv 2101.01163.
    """
    size = cfg.size
    codes_length = size * cfg.coefficient
    move, valid, begins, filler, filler_late = (bit() for _ in range(5))
    turn, last, whole, ends, ends_late, begins_late, done = (bit() for _ in range(7))
    entry, gap, step = bits(cfg.entry), bits(cfg.gap), bits(max(1, (size - 1).bit_length()))
    skip = bits(max(1, (((1 << cfg.gap) - 1) * size).bit_length()))
    codes, codes_late = bits(codes_length), bits(codes_length)
    column, activation, weight = bits(size * cfg.basis), word(cfg.activation), word(cfg.weight)
    base, total = word(cfg.output + cfg.shift), word(cfg.accumulator)
    final = size - 1

    @always_comb
    def ending():
        whole.next = step == final

    return (
        walk(clk, rst, move, start, last_entry, w, entry, step, valid, size),
        cut_bits(entry, codes, 0, codes_length),
        cut_bits(entry, gap, codes_length, cfg.gap),
        cut_bits(entry, turn, codes_length + cfg.gap, 1),
        cut_bits(entry, last, codes_length + cfg.gap + 1, 1),
        ending,
        row_ends(valid, last, whole, ends),
        is_filler(gap, filler),
        skipped(gap, step, skip, size),
        read_activation(clk, move, start, valid, ends, skip, filler, begins, x, activation),
        read_basis(clk, move, start, valid, whole, turn, basis, column, size),
        keep(clk, move, codes, codes_late, 2),
        rebuild(clk, move, codes_late, column, weight, cfg),
        keep(clk, move, filler, filler_late, 3),
        keep(clk, move, begins, begins_late, 3),
        add_product(clk, move, activation, weight, filler_late, begins_late, base, total),
        keep_reset(clk, rst, move, ends, ends_late, 3),
        read_bias(clk, start, move, ends_late, bias, base, cfg.shift),
        keep_reset(clk, rst, move, ends_late, done, 3),
        give(clk, rst, total, done, move, o, cfg.shift),
    )


@block
def row_ends(valid, last, whole, ends):
    """The last cycle of a row's last entry. No register."""

    @always_comb
    def conjunction():
        ends.next = valid and last and whole

    return conjunction


@block
def skipped(gap, step, skip, size):
    """Columns before an entry: in its first cycle those of its gap, then none. No register."""
    content = tuple(n * size for n in range(1 << len(gap)))
    columns = bits(len(skip))

    @always_comb
    def look_up():
        columns.next = content[gap]

    @always_comb
    def choose():
        if step == 0:
            skip.next = columns
        else:
            skip.next = 0

    return look_up, choose


@block
def read_basis(clk, move, start, valid, whole, turn, basis, column, size):
    """Read the columns of a basis again and again, and after a ``turn`` those of the next.

    Ports
        whole : the entry's last cycle
        turn : the next entry has the next basis
        basis : Write of the bases
        column : the basis's column of an entry's cycle, 2 cycles later
    """
    address = wrapping(len(basis.address))
    enable, w_address, w_data = basis.enable, basis.address, basis.data
    back = size - 1

    @always(clk.posedge)
    def go_on():
        if start:
            address.next = 0
        elif move and valid:
            if whole and not turn:
                address.next = address - back
            else:
                address.next = address + 1

    return go_on, queue_memory(
        clk, enable, w_address, w_data, move, address, move, column, 1 << len(address)
    )


# ------------------------------------------------------------------------------------------ weights


@block
def rebuild(clk, move, codes, column, weight, cfg):
    """A weight: the words of a basis's column, each times its power of two, added up.

    Latency, resources
        One cycle; no DSP.

    Ports
        codes : cfg.size coefficients
        column : cfg.size words
        weight : their product
    """
    terms, logic = [], []
    for n in range(cfg.size):
        code, base = bits(cfg.coefficient), word(cfg.basis)
        terms.append(word(cfg.basis + largest_shift(cfg.coefficient) + 1))
        logic += [
            cut_bits(codes, code, n * cfg.coefficient, cfg.coefficient),
            cut(column, base, n * cfg.basis, cfg.basis),
            shifted(clk, move, code, base, terms[-1]),
        ]
    return logic, add_all(terms, weight)


@block
def shifted(clk, move, code, base, term):
    """Term is the base times a coefficient, one cycle later."""
    sign = len(code) - 1
    exponent, negative = bits(sign), bit()
    double = word(len(base) + (1 << sign) - 1)
    magnitude = word(len(double) - 1)

    @always(clk.posedge)
    def store():
        if move:
            if exponent == 0:
                term.next = 0
            elif negative:
                term.next = -magnitude
            else:
                term.next = magnitude

    return (
        cut_bits(code, exponent, 0, sign),
        cut_bits(code, negative, sign, 1),
        shift_left_by(base, double, exponent),
        cut(double, magnitude, 1, len(magnitude)),
        store,
    )


@block
def add_all(terms, total):
    """Total is the sum of the terms. No register."""
    if len(terms) == 1:
        return wire(terms[0], total)
    halves, logic = [], []
    for half in terms[: len(terms) // 2], terms[len(terms) // 2 :]:
        halves.append(word(len(total)))
        logic.append(add_all(half, halves[-1]))
    return logic, add_at_once(*halves, total)
