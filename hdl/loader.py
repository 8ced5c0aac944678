"""The configuration loader: an image (:mod:`hdl.image`) into the memories of a core.

The core runs either a complete, verified program or none. What tells that an image is not for this
core stands in its first three words, before the old program is given up.
"""

from myhdl import Signal, always, always_comb, block, concat, enum, modbv

from hdl.arith import bit, bits
from hdl.image import HALF, MAGIC, Error, entry_words, payload_limit
from hdl.stream import AxiStream

ERROR_BITS = 4
STATUS_BITS = 8
FIELD_BITS = 15
POLYNOMIAL = 0x04C11DB7

states = enum("MAGIC", "SIGNATURE", "LENGTH", "QUIET", "SECTION", "ENTRY", "VERDICT", "SWALLOW")


class Load:
    """An entry for ``address`` of ``unit``, in a cycle with ``valid``; it cannot wait."""

    def __init__(self, data_bits, unit_bits, address_bits):
        self.valid = bit()
        self.unit, self.address, self.data = map(bits, (unit_bits, address_bits, data_bits))


@block
def loader(
    clk,
    rst,
    config,
    busy,
    enable,
    load,
    status,
    data_bits,
    unit_bits,
    address_bits,
    signature,
    relaxed=False,
):
    """Take images in and let the core run when it holds a complete one.

    Equals :func:`hdl.image.check_image`. An image with a wrong word 0 to 2 changes nothing. Any
    other takes the place of the program, and if it turns out wrong there is none until a correct
    one has come; no reset is needed. A wrong image is taken in up to its TLAST.

    Latency, resources
        A word a cycle, relaxed every fourth; the image waits after word 2 for a cycle, relaxed for
        two, and while the core is busy. ``load`` follows the last word of an entry by a cycle,
        relaxed by five, ``enable`` and ``status`` the last word of an image. About 300 LUTs, 32-bit
        CRC among them, and a register of an entry.

    Ports
        config : AxiStream(32)      images, TLAST on the CRC word
        busy : the core has a frame in flight; high from the cycle after the one that started it
        enable : the core may start frames in this cycle
        load : Load                 the entries
        status : [0] enable, [1] in the middle of an image, [7:4] why the last image was refused, a
            number of :class:`hdl.image.Error`; 0 again after a correct one
    """
    last_place = entry_words(data_bits) - 1
    limit = payload_limit(data_bits, unit_bits, address_bits)
    if max(unit_bits, address_bits) > FIELD_BITS or limit >= 1 << 31:
        raise ValueError(
            f"{unit_bits} bits of unit, {address_bits} of address, {data_bits} of data: a loader "
            f"takes {FIELD_BITS} of unit and of address, and images below 2**31 words"
        )
    none, no_magic, foreign, no_length, no_crc, truncated, overlong, no_section = map(int, Error)
    signature_high, signature_low = signature >> 16, signature & (HALF - 1)
    units, most = 1 << unit_bits, 1 << address_bits
    length_bits, count_bits, unit_top = limit.bit_length(), address_bits + 1, 16 + unit_bits

    state = Signal(states.MAGIC)
    taken, enabled, loading = bit(), bit(), bit()
    fault, error = bits(ERROR_BITS), bits(ERROR_BITS)
    remaining, entries, place, address = (
        Signal(modbv(0)[length:])
        for length in (length_bits, count_bits, max(1, last_place.bit_length()), address_bits)
    )
    complete, at_end, in_section, in_entry, at_rest, crc_wrong = (bit() for _ in range(6))
    wrong_magic, foreign_word, bad_length, bad_section = (bit() for _ in range(4))
    words = AxiStream(32) if relaxed else config
    unit = bits(unit_bits)
    crc, mirrored, crc_half, crc_next = (bits(32) for _ in range(4))

    # a relaxed loader keeps every word for two cycles before it takes it: what depends on the word
    # and the CRC is in registers after one of them, and what that leads to after the other
    settle = always(clk.posedge) if relaxed else always_comb

    @always_comb
    def handshake():
        words.tready.next = state != states.QUIET
        loading.next = state != states.MAGIC

    @settle
    def take():
        taken.next = words.tvalid and (state != states.QUIET) and not rst

    @settle
    def rest():
        at_rest.next = state == states.QUIET and not busy

    @settle
    def places():
        complete.next = place == last_place
        at_end.next = remaining == 1
        in_section.next = state == states.SECTION
        in_entry.next = state == states.ENTRY

    @settle
    def look():
        wrong_magic.next = words.tdata != MAGIC
        foreign_word.next = (
            words.tdata[32:16] != signature_high or words.tdata[16:] != signature_low
        )
        bad_length.next = words.tdata == 0 or words.tdata > limit
        bad_section.next = (
            words.tdata[32:16] >= units or words.tdata[16:] > most or words.tdata[16:] == 0
        )

    @settle
    def compare():
        crc_wrong.next = words.tdata != mirrored

    @always_comb
    def mirror():
        for n in range(32):
            mirrored.next[n] = crc[31 - n]

    @settle
    def divide():
        c = modbv(0)[32:]
        c[:] = ~crc
        for n in range(16):
            if c[31] != words.tdata[n]:
                c[:] = concat(c[31:], False) ^ POLYNOMIAL
            else:
                c[:] = concat(c[31:], False)
        crc_half.next = c

    @settle
    def divide_on():
        c = modbv(0)[32:]
        c[:] = crc_half
        for n in range(16, 32):
            if c[31] != words.tdata[n]:
                c[:] = concat(c[31:], False) ^ POLYNOMIAL
            else:
                c[:] = concat(c[31:], False)
        crc_next.next = ~c

    @settle
    def judge():
        fault.next = none
        if words.tlast:
            fault.next = truncated
        if state == states.MAGIC:
            if wrong_magic:
                fault.next = no_magic
        elif state == states.SIGNATURE:
            if foreign_word:
                fault.next = foreign
        elif state == states.LENGTH:
            if bad_length:
                fault.next = no_length
        elif state == states.SECTION:
            if at_end or bad_section:
                fault.next = no_section
        elif state == states.ENTRY:
            if at_end and not (complete and entries == 1):
                fault.next = no_section
        elif state == states.VERDICT:
            if not words.tlast:
                fault.next = overlong
            elif crc_wrong:
                fault.next = no_crc
            else:
                fault.next = none
        else:
            fault.next = none

    @always(clk.posedge)
    def control():
        if rst:
            state.next = states.MAGIC
            enabled.next = 0
            error.next = none
        elif state == states.QUIET:
            if at_rest:
                state.next = states.SECTION
        elif taken:
            if fault != none:
                error.next = fault
                if words.tlast:
                    state.next = states.MAGIC
                else:
                    state.next = states.SWALLOW
            elif state == states.MAGIC:
                state.next = states.SIGNATURE
            elif state == states.SIGNATURE:
                state.next = states.LENGTH
            elif state == states.LENGTH:
                enabled.next = 0
                state.next = states.QUIET
            elif state == states.SECTION:
                state.next = states.ENTRY
            elif state == states.ENTRY:
                if at_end:
                    state.next = states.VERDICT
                elif complete and entries == 1:
                    state.next = states.SECTION
            elif state == states.VERDICT:
                enabled.next = 1
                error.next = none
                state.next = states.MAGIC
            elif words.tlast:
                state.next = states.MAGIC

    @always(clk.posedge)
    def digest():
        if rst:
            crc.next = 0
        elif taken:
            if words.tlast:
                crc.next = 0
            else:
                crc.next = crc_next

    @always(clk.posedge)
    def count():
        if taken:
            if state == states.LENGTH:
                remaining.next = words.tdata[length_bits:]
            else:
                remaining.next = remaining - 1
            if in_section:
                unit.next = words.tdata[unit_top:16]
                entries.next = words.tdata[count_bits:]
                address.next = 0
                place.next = 0
            elif complete:
                entries.next = entries - 1
                address.next = address + 1
                place.next = 0
            else:
                place.next = place + 1

    @always(clk.posedge)
    def write():
        load.valid.next = taken and complete and in_entry and not rst
        load.unit.next = unit
        load.address.next = address

    @always_comb
    def report():
        enable.next = enabled
        status.next = concat(error, "00", loading, enabled)

    return (
        keep_still(clk, rst, config, words) if relaxed else (),
        handshake,
        take,
        rest,
        places,
        look,
        compare,
        mirror,
        divide,
        divide_on,
        judge,
        control,
        digest,
        count,
        write,
        report,
        assemble(clk, taken, words.tdata, load.data),
    )


@block
def assemble(clk, taken, word, data):
    """Data is the last words that were taken, the first of them in the least significant bits."""
    length = 32 * entry_words(len(data))
    line = bits(length)
    data_bits = len(data)

    @always_comb
    def tap():
        data.next = line[data_bits:]

    if length == 32:

        @always(clk.posedge)
        def keep():
            if taken:
                line.next = word

        return tap, keep

    @always(clk.posedge)
    def shift():
        if taken:
            line.next = concat(word, line[length:32])

    return tap, shift


@block
def keep_still(clk, rst, i, o):
    """A register for a word, which is offered two cycles after it came, or after ``ready`` rose."""
    full, waited = bit(), bit()
    offered = bit()

    @always_comb
    def ports():
        i.tready.next = not full
        o.tvalid.next = offered

    @always(clk.posedge)
    def keep():
        if not full:
            o.tdata.next = i.tdata
            o.tlast.next = i.tlast

    @always(clk.posedge)
    def control():
        if rst or (offered and o.tready):
            full.next = 0
            waited.next = 0
            offered.next = 0
        else:
            full.next = full or i.tvalid
            waited.next = full and o.tready
            offered.next = full and o.tready and waited

    return ports, keep, control
