"""Words, registered arithmetic and memories: the pieces that every data path is made of.

One operation on named, exactly sized signals at a time: so MyHDL's Verilog and VHDL compute what
its simulation does. A registered block takes one cycle; nothing here is reset.
"""

from myhdl import Signal, always, always_comb, block, concat, intbv, modbv

from hdl.config import address_bits
from hdl.module import leaf

MEMORY_LATENCY = 2
"""Cycles from r_address to r_data of :func:`memory`."""


def word(length):
    """A signal of one two's complement word of ``length`` bits."""
    return Signal(intbv(0, min=-(1 << (length - 1)), max=1 << (length - 1)))


def words(count, length):
    """A list of ``count`` signals of one word each."""
    return [word(length) for _ in range(count)]


def bits(length):
    """A signal of ``length`` bits without a sign: a packed vector or an address."""
    return Signal(intbv(0)[length:])


def wrapping(length):
    """A signal of ``length`` bits without a sign that counts on from 0 after its highest."""
    return Signal(modbv(0)[length:])


def bit():
    """A signal of one bit."""
    return Signal(bool(0))


def constant(value):
    """Return a number for use in a generator.

    Raises:
        ValueError: MyHDL would convert it to an unsigned one: it is longer than 32 bits.
    """
    if abs(value) >= 1 << 31:
        raise ValueError(f"constant {value}: the RTL takes 32 bits; use shorter words")
    return value


def later(signals, cycles):
    """Signals for what :func:`hold` makes of these; for 0 cycles they themselves."""
    return [Signal(s.val) for s in signals] if cycles else signals


@block
def split(bus, parts):
    """Cut a packed vector into its words; word 0 is in the least significant bits. No register."""
    length = len(bus) // len(parts)
    return [cut(bus, part, index * length, length) for index, part in enumerate(parts)]


@block
def cut(bus, part, low, length):
    """Take the word of ``length`` bits that begins at bit ``low``. No register."""
    high = low + length

    @always_comb
    def take():
        part.next = bus[high:low].signed()

    return take


@block
def cut_bits(bus, part, low, length):
    """Take ``length`` bits without a sign that begin at bit ``low``. No register."""
    high = low + length
    if isinstance(part.val, bool):

        @always_comb
        def take_one():
            part.next = bus[low]

        return take_one

    @always_comb
    def take():
        part.next = bus[high:low]

    return take


@block
def low_bits(wide, narrow):
    """Take the low bits of a vector. No register."""
    return cut_bits(wide, narrow, 0, len(narrow))


@block
def join(parts, bus):
    """Pack words into a vector; word 0 goes to the least significant bits. No register."""
    if len(parts) == 1:
        return concatenate(parts[0], None, bus)
    logic, halves = [], []
    for half in parts[: len(parts) // 2], parts[len(parts) // 2 :]:
        if len(half) == 1:
            halves.append(half[0])
        else:
            halves.append(bits(sum(map(len, half))))
            logic.append(join(half, halves[-1]))
    return logic, concatenate(halves[1], halves[0], bus)


@block
def concatenate(high, low, bus):
    """Bus is the bits of ``high`` above those of ``low``, which may be None. No register."""
    high_length = len(high)
    if low is None:

        @always_comb
        def copy():
            bus.next = high[high_length:]

        return copy

    low_length = len(low)

    @always_comb
    def pack():
        bus.next = concat(high[high_length:], low[low_length:])

    return pack


@block
def register(clk, d, q):
    """One cycle of delay; q may be the longer word."""

    @always(clk.posedge)
    def store():
        q.next = d

    return store


@block
def delay(clk, d, q, cycles):
    """A delay of a word by ``cycles`` cycles; 0 is a wire."""
    if cycles == 0:
        return wire(d, q)
    if cycles == 1:
        return register(clk, d, q)
    length = len(d)
    kept, whole = (cycles - 1) * length, cycles * length
    line = bits(whole)

    @always(clk.posedge)
    def shift():
        line.next = concat(line[kept:], d[length:])

    return shift, cut(line, q, kept, length)


@block
def hold(clk, signals, late, cycles):
    """Vectors, words or bits some cycles later; 0 cycles make nothing of them."""
    if cycles == 0:
        return []
    if cycles == 1:
        return [register(clk, s, q) for s, q in zip(signals, late, strict=True)]
    between = later(signals, 1)
    return hold(clk, signals, between, 1), hold(clk, between, late, cycles - 1)


@block
def delay_bits(clk, d, q, cycles):
    """Delay a vector by ``cycles`` cycles; 0 is a wire."""
    if cycles == 0:
        return wire(d, q)
    if cycles == 1:
        return register(clk, d, q)
    middle = bits(len(d))
    return register(clk, d, middle), delay_bits(clk, middle, q, cycles - 1)


@block
def delay_bit(clk, d, q, cycles):
    """A delay of a bit by ``cycles`` cycles, one or more."""
    if cycles == 1:
        return register(clk, d, q)
    kept = cycles - 1
    line = bits(cycles)

    @always(clk.posedge)
    def shift():
        line.next = concat(line[kept:], d)

    @always_comb
    def end():
        q.next = line[kept]

    return shift, end


@block
def wire(d, q):
    """No register and no delay; q may be the longer word."""

    @always_comb
    def copy():
        q.next = d

    return copy


@block
def add(clk, a, b, total):
    """Total is a + b, one cycle later."""

    @always(clk.posedge)
    def store():
        total.next = a + b

    return store


@block
def subtract(clk, a, b, difference):
    """Difference is a - b, one cycle later."""

    @always(clk.posedge)
    def store():
        difference.next = a - b

    return store


@block
def negate(clk, a, negative):
    """Negative is -a, one cycle later."""

    @always(clk.posedge)
    def store():
        negative.next = -a

    return store


@leaf
def multiply(clk, a, b, product):
    """Product is a * b, one cycle later; it has as many bits as both together."""

    @always(clk.posedge)
    def store():
        product.next = a * b

    return store


@leaf
def multiply_registered(clk, a, b, product):
    """Product is a * b, two cycles later: first there are registers for a and b."""
    a_late, b_late = word(len(a)), word(len(b))

    @always(clk.posedge)
    def store():
        a_late.next = a
        b_late.next = b
        product.next = a_late * b_late

    return store


@block
def multiply_in(clk, a, b, product, stages):
    """Product is a * b, 1 or 2 cycles later."""
    return (multiply if stages == 1 else multiply_registered)(clk, a, b, product)


@leaf
def scale(clk, a, product, factor, offset=0):
    """Product is the constant ``factor`` times a, plus a constant, one cycle later."""

    @always(clk.posedge)
    def store():
        product.next = a * factor + offset

    return store


@block
def round_sum(clk, a, b, rounded, shift):
    """Divide a + b by 2**shift, shift >= 1, rounding half up, one cycle later."""
    half = constant(1 << (shift - 1))
    total = word(max(len(a), len(b)) + 2)
    top = min(len(total), shift + len(rounded))

    @always_comb
    def add_half():
        total.next = a + b + half

    @always(clk.posedge)
    def store():
        rounded.next = total[top:shift].signed()

    return add_half, store


@block
def saturate_sum(clk, a, b, rounded, shift, stages=1):
    """Divide a + b by 2**shift, shift >= 1, rounding half up, and saturate, 1 or 3 cycles later."""
    half = constant(1 << (shift - 1))
    total = word(max(len(a), len(b)) + 2)
    exact = word(len(total) - shift)
    ending = cut(total, exact, shift, len(exact)), saturate(clk, exact, rounded)
    if stages == 3:
        plain = word(len(total))

        @always(clk.posedge)
        def add_up():
            plain.next = a + b
            total.next = plain + half

        return add_up, ending

    @always_comb
    def add_half():
        total.next = a + b + half

    return add_half, ending


@block
def add_scaled(clk, a, b, total, shift):
    """Total is a + b / 2**shift, shift >= 0, rounded half up, one cycle later."""
    if shift == 0:
        return add(clk, a, b, total)
    scaled = word(len(a) + shift)
    exact = word(max(len(scaled), len(b)) + 1)
    top = min(len(exact), shift + len(total))

    @always_comb
    def add_up():
        exact.next = scaled + b

    @always(clk.posedge)
    def store():
        total.next = exact[top:shift].signed()

    return shift_left(a, scaled, shift, constant(1 << (shift - 1))), add_up, store


@block
def shift_round(clk, a, rounded, shift):
    """Divide a by 2**shift, rounding half up, one cycle later; a negative shift multiplies.

    Equals :func:`ernn.fixed.shift_round` bit for bit.
    """
    if shift <= 0:
        shifted = word(len(a) - shift)
        return shift_left(a, shifted, -shift), register(clk, shifted, rounded)

    half = constant(1 << (shift - 1))
    total = word(len(a) + 1)
    top = min(len(total), shift + len(rounded))

    @always_comb
    def add_half():
        total.next = a + half

    @always(clk.posedge)
    def store():
        rounded.next = total[top:shift].signed()

    return add_half, store


@block
def shift_left(a, shifted, shift, low=0):
    """Shifted is a * 2**shift, with ``low`` in the bits below. No register."""

    @always_comb
    def put():
        shifted.next = (a << shift) + low

    return put


@block
def shift_left_by(a, shifted, amount):
    """Shifted is a * 2**amount, of a signal or a constant. No register.

    It has :func:`raised_length` bits, so that no amount is too large.
    """
    if isinstance(amount, int):
        return shift_left(a, shifted, amount)
    wide = word(len(shifted))

    @always_comb
    def put():
        shifted.next = wide << amount

    return wire(a, wide), put


def raised_length(length, amount):
    """Bits of a word of ``length`` bits times 2**amount, whatever the amount's signal is."""
    return length + (amount if isinstance(amount, int) else (1 << len(amount)) - 1)


@block
def saturate(clk, a, saturated):
    """Clip a to the word length of ``saturated``, one cycle later."""
    lowest = -(1 << (len(saturated) - 1))
    return clip(clk, a, saturated, constant(lowest), constant(-lowest - 1))


@block
def saturate_either(clk, a, narrow, saturated, length, narrow_length):
    """Clip a to a word of ``length`` bits, or if narrow of ``narrow_length``, one cycle later.

    Equal lengths make nothing of ``narrow``.
    """
    wide = word(max(len(a), length + 1, narrow_length + 1))
    sign, kept = len(wide) - 1, len(saturated)
    over, over_narrow, over_either = bit(), bit(), bit()
    highest, highest_narrow = (constant((1 << (n - 1)) - 1) for n in (length, narrow_length))
    lowest, lowest_narrow = -highest - 1, -highest_narrow - 1

    @always_comb
    def choose():
        if narrow:
            over_either.next = over_narrow
        else:
            over_either.next = over

    @always(clk.posedge)
    def store():
        if not over_either:
            saturated.next = wide[kept:].signed()
        elif narrow:
            if wide[sign]:
                saturated.next = lowest_narrow
            else:
                saturated.next = highest_narrow
        else:
            if wide[sign]:
                saturated.next = lowest
            else:
                saturated.next = highest

    return (
        wire(a, wide),
        overflow(wide, over, length),
        overflow(wide, over_narrow, narrow_length),
        choose,
        store,
    )


@block
def overflow(a, over, length):
    """Tell whether a is too large for ``length`` bits: those above differ. No register."""
    whole, low = len(a), length - 1
    ones = constant((1 << (whole - low)) - 1)
    top = bits(whole - low)

    @always_comb
    def cut_top():
        top.next = a[whole:low]

    @always_comb
    def compare():
        over.next = (top != 0) and (top != ones)

    return cut_top, compare


@block
def clip(clk, a, clipped, lowest, highest, stages=1):
    """Clip a to a range, which the word of ``clipped`` holds, 1 or 2 cycles later.

    The range's ends are constants, or words as long as ``clipped``.
    """
    length = len(clipped)
    wide = word(max(len(a), length) + 1)

    @always_comb
    def extend():
        wide.next = a

    if stages == 2:
        above, below, inside = bit(), bit(), word(length)

        @always(clk.posedge)
        def compare():
            above.next = wide > highest
            below.next = wide < lowest
            inside.next = wide[length:].signed()

        return extend, compare, choose_end(clk, above, below, inside, clipped, lowest, highest)

    @always(clk.posedge)
    def store():
        if wide > highest:
            clipped.next = highest
        elif wide < lowest:
            clipped.next = lowest
        else:
            clipped.next = wide[length:].signed()

    return extend, store


@block
def choose_end(clk, above, below, inside, clipped, lowest, highest):
    """The second cycle of a clip: the end of the range, or what is in it."""

    @always(clk.posedge)
    def store():
        if above:
            clipped.next = highest
        elif below:
            clipped.next = lowest
        else:
            clipped.next = inside

    return store


@block
def ram(clk, w_enable, w_address, w_data, r_address, r_data, depth):
    """A memory of ``depth`` words with a write port and a read port: r_data a cycle later.

    A word is never written in the cycle in which it is read. There is a word at every address, for
    what runs on past the last one reads there too.
    """
    storage = [Signal(w_data.val) for _ in range(1 << address_bits(depth))]

    @always(clk.posedge)
    def access():
        if w_enable:
            storage[w_address].next = w_data
        r_data.next = storage[r_address]

    return access


@block
def clip_sum(clk, early, late, clipped, lowest, highest, shift=0, stages=1):
    """Clip early + late / 2**shift, rounded half up, to a range, 1 or 2 cycles after ``late``.

    ``early`` comes a cycle before ``late``: what it leaves below and above is ready when ``late``
    comes, so that adding and comparing go on beside each other. The range's ends are as those of
    :func:`clip`.
    """
    # twice of everything, so that the bit that rounds goes along
    length = len(clipped)
    halves = word(len(late) - shift + 1)
    known = word(len(early))
    above, below = (word(max(len(early), length) + 1) for _ in range(2))
    known_halves = word(len(known) + 1)
    above_halves, below_halves = word(len(above) + 1), word(len(below) + 1)
    total = word(max(len(known_halves), len(halves)) + 1)
    top = min(len(total), length + 1)

    @always(clk.posedge)
    def take_early():
        known.next = early
        above.next = highest - early
        below.next = lowest - early

    @always_comb
    def add_up():
        total.next = known_halves + halves

    if stages == 2:
        is_above, is_below, inside = bit(), bit(), word(length)

        @always(clk.posedge)
        def compare():
            is_above.next = halves > above_halves
            is_below.next = halves < below_halves
            inside.next = total[top:1].signed()

        store = compare, choose_end(clk, is_above, is_below, inside, clipped, lowest, highest)
    else:

        @always(clk.posedge)
        def store():
            if halves > above_halves:
                clipped.next = highest
            elif halves < below_halves:
                clipped.next = lowest
            else:
                clipped.next = total[top:1].signed()

    return (
        cut(late, halves, shift - 1, len(halves)) if shift else shift_left(late, halves, 1),
        take_early,
        shift_left(known, known_halves, 1, 1),
        shift_left(above, above_halves, 1),
        shift_left(below, below_halves, 1),
        add_up,
        store,
    )


@block
def rom(clk, address, q, content, stages=1):
    """Constants to choose from: q is that of an address, 1 or 2 cycles later.

    Two stages look up a quarter of the constants each, and then choose.
    """
    if stages == 2:
        part, quarter = bits(len(address) - 2), bits(2)
        found = [Signal(q.val) for _ in range(4)]
        size = len(content) // 4
        return (
            cut_bits(address, part, 0, len(part)),
            pick(clk, address, quarter),
            [rom(clk, part, found[n], content[n * size : (n + 1) * size]) for n in range(4)],
            one_of_four(clk, quarter, *found, q),
        )

    @always(clk.posedge)
    def look_up():
        q.next = content[address]

    return look_up


@block
def pick(clk, address, top):
    """The highest bits of an address, one cycle later."""
    high = len(address)
    low = high - len(top)

    @always(clk.posedge)
    def store():
        top.next = address[high:low]

    return store


@block
def one_of_four(clk, which, first, second, third, fourth, q):
    """Q is one of four words, one cycle later."""

    @always(clk.posedge)
    def store():
        if which == 0:
            q.next = first
        elif which == 1:
            q.next = second
        elif which == 2:
            q.next = third
        else:
            q.next = fourth

    return store


@leaf
def queue_memory(clk, w_enable, w_address, w_data, r_enable, r_address, q_enable, r_data, depth):
    """A memory as :func:`memory` whose read and whose output register wait where not enabled."""
    storage = [Signal(w_data.val) for _ in range(1 << address_bits(depth))]
    stored = Signal(w_data.val)

    @always(clk.posedge)
    def access():
        if w_enable:
            storage[w_address].next = w_data
        if r_enable:
            stored.next = storage[r_address]
        if q_enable:
            r_data.next = stored

    return access


@leaf
def memory(clk, w_enable, w_address, w_data, r_address, r_data, depth, r_clear=None):
    """A memory of ``depth`` words with a write port, a read port and an output register.

    A word is never written in the cycle in which it is read.

    Latency, resources
        r_data follows r_address by ``MEMORY_LATENCY`` cycles. A block memory with its output
        register, or LUTs where it is small.

    Ports
        w_enable, w_address, w_data : writes a word; it can be read from the next cycle on
        r_address, r_data : reads a word
        r_clear : one cycle after its r_address, makes r_data zero; may be left out
    """
    stored = Signal(w_data.val)
    access = ram(clk, w_enable, w_address, w_data, r_address, stored, depth)
    if r_clear is None:
        return access, register(clk, stored, r_data)

    @always(clk.posedge)
    def clear():
        if r_clear:
            r_data.next = 0
        else:
            r_data.next = stored

    return access, clear
