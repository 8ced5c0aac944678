"""ECP5: the leaves in hard blocks equal the generic ones; what nextpnr makes of them."""

import random

import pytest
from checking import Case, bank, bank_arguments
from stub import stub

from hdl import ecp5, module
from hdl.arith import bit, bits, memory, multiply, multiply_registered, scale, word
from hdl.ecp5 import ulx3s
from hdl.pe import multiply_accumulate
from hdl.tools import SimulationError, lint, run_icarus, run_vectors

CYCLES = 500


def words(rng, length, cycles):
    """Random words, every fourth of them an extreme."""
    low, high = -(1 << (length - 1)), (1 << (length - 1)) - 1
    corners = low, high, 0, -1
    return [
        rng.choice(corners) if rng.random() < 0.25 else rng.randint(low, high)
        for _ in range(cycles)
    ]


def multiply_case(a, b, function=multiply, latency=1):
    rng = random.Random(a)
    ports = {"a": word(a), "b": word(b), "product": word(a + b)}
    inputs = {"a": words(rng, a, CYCLES), "b": words(rng, b, CYCLES)}
    return Case(function, ports, {}, inputs, {}, latency)


def scale_case(a, factor, offset=0):
    rng = random.Random(a)
    ports = {"a": word(a), "product": word(a + 16)}
    parameters = {"factor": factor, "offset": offset}
    return Case(scale, ports, parameters, {"a": words(rng, a, CYCLES)}, {}, 1)


def multiply_accumulate_case(operand, factor, total):
    """The sum put aside is forgotten and the sum starts from it before anything counts."""
    rng = random.Random(operand)
    ports = {name: bit() for name in ("starts", "counts", "keeps", "forgets")}
    ports |= {"operand": word(operand), "factor": word(factor), "total": word(total)}
    chances = {"starts": 0.5, "counts": 0.7, "keeps": 0.3, "forgets": 0.1}
    inputs = {
        name: [1] * 4 + [int(rng.random() < chance) for _ in range(CYCLES - 4)]
        for name, chance in chances.items()
    }
    inputs["operand"] = words(rng, operand, CYCLES)
    inputs["factor"] = words(rng, factor, CYCLES)
    return Case(multiply_accumulate, ports, {}, inputs, {}, 4)


def memory_case(depth, width):
    """Each word is written first, then at random; never read in the cycle of its writing."""
    rng = random.Random(depth)
    cycles = depth + CYCLES
    length = (depth - 1).bit_length()
    ports = {"w_enable": bit(), "w_address": bits(length), "r_address": bits(length)}
    ports |= {"w_data": bits(width), "r_data": bits(width)}
    write = rng.sample(range(depth), depth) + rng.choices(range(depth), k=CYCLES)
    read = [(w + rng.randrange(1, depth)) % depth for w in write]
    inputs = {
        "w_enable": [1] * depth + rng.choices([0, 1], k=CYCLES),
        "w_address": write,
        "r_address": read,
        "w_data": [rng.getrandbits(width) for _ in range(cycles)],
    }
    return Case(memory, ports, {"depth": depth}, inputs, {}, depth + 2)


def equal(cases, simulate, tmp_path):
    """Generic and ECP5 Verilog answer the same in every cycle from the cases' latency on."""
    arguments = bank_arguments(cases)
    generic = module.convert(bank, arguments, tmp_path / "generic")
    hard = ecp5.convert(bank, arguments, tmp_path / "hard")
    replaced = [path for path in hard if ") leaf (" in path.read_text()]
    assert len(replaced) == len(cases)
    hard.append(ecp5.PRIMITIVES)
    lint(hard, "bank")

    cycles = max(len(next(iter(case.inputs.values()))) for case in cases)
    packed, low = [0] * cycles, 0
    for case in cases:
        for name, values in case.inputs.items():
            length = len(case.ports[name]) or 1
            for t, value in enumerate(values):
                packed[t] |= (value & (1 << length) - 1) << low
            low += length
    answers = [simulate(files, "bank", {"i": packed}, ["o"])["o"] for files in (generic, hard)]
    known = [max((t + 1 for t, o in enumerate(a) if o is None), default=0) for a in answers]
    assert max(known) <= max(case.latency for case in cases)
    low = 0
    for case in cases:
        output = next(name for name in case.ports if name not in case.inputs)
        mask = (1 << len(case.ports[output])) - 1
        end = len(next(iter(case.inputs.values())))
        start = max(case.latency, *known)
        expected, got = ([o >> low & mask for o in answer[start:end]] for answer in answers)
        assert got == expected
        assert len(set(got)) > min(len(got) // 4, mask // 2)
        low += len(case.ports[output])


def small_cases():
    return [
        multiply_case(18, 14),
        multiply_case(17, 18, multiply_registered, 2),
        scale_case(18, 11585),
        scale_case(13, -21407, 8192),
        multiply_accumulate_case(18, 18, 48),
        multiply_accumulate_case(15, 13, 37),
        memory_case(208, 96),
    ]


def test_leaves(tmp_path):
    deep = [(1000, 20), (2048, 9), (4096, 7), (8192, 3), (16384, 2)]
    cases = small_cases() + [memory_case(*size) for size in deep]
    equal(cases, run_vectors, tmp_path)


def test_leaves_under_icarus(icarus, tmp_path):
    """From unknown registers too."""
    equal(small_cases(), run_icarus, tmp_path)


def test_small_memories_stay_generic(tmp_path):
    arguments = {"clk": bit(), **memory_case(32, 16).ports, "depth": 32}
    assert "ecp5_memory" not in ecp5.convert(memory, arguments, tmp_path)[-1].read_text()


def test_long_operands_are_refused(tmp_path):
    arguments = {"clk": bit(), **multiply_accumulate_case(19, 13, 40).ports}
    line = "multiply_accumulate: operand of 19 bits; ECP5 multipliers take 18: use shorter words"
    with pytest.raises(ValueError, match=line):
        ecp5.convert(multiply_accumulate, arguments, tmp_path)


def test_place_and_route(tmp_path):
    """The leaves' registers are the hard blocks', and nothing else of them is in LUTs."""
    cases = [multiply_accumulate_case(18, 13, 36), memory_case(208, 96)]
    files = ecp5.convert(bank, bank_arguments(cases), tmp_path)
    timing = ecp5.place_and_route([*files, ecp5.harness(files, "bank", tmp_path)], "harness")
    assert timing.utilisation["MULT18X18D"] == (1, 156)
    assert timing.utilisation["DP16KD"] == (3, 208)
    shift_registers = sum(len(s) or 1 for c in cases for s in c.ports.values()) + 2
    total, aside, starting = 36, 36, 1
    assert timing.utilisation["TRELLIS_FF"][0] <= shift_registers + total + aside + starting
    assert timing.slowest > 150
    assert "clk-to-q" in timing.critical
    assert f"{timing.slowest:.1f} |" in timing.to_markdown()


def test_bitstream(tmp_path):
    """A board around a stub, at 150 MHz."""
    sizes = {"input_bytes": 16, "output_bytes": 16, "divider": ulx3s.divider(150)}
    files = ulx3s.convert_board(stub, {}, tmp_path, **sizes)
    timing = ulx3s.build(files, 150, bitstream=tmp_path / "board.bit")
    assert timing.slowest > 150
    assert timing.utilisation["EHXPLLL"][0] == 1
    assert (tmp_path / "board.bit").read_bytes().startswith(b"\xff\x00")


def test_what_a_tool_refuses_is_told_in_a_line(tmp_path):
    (tmp_path / "broken.v").write_text("module broken (")
    with pytest.raises(SimulationError, match=r"^yosys: .*syntax error.*$"):
        ecp5.place_and_route([tmp_path / "broken.v"], "broken")
    (tmp_path / "wide.v").write_text(
        "module wide (input [399:0] i, output o); assign o = ^i; endmodule"
    )
    with pytest.raises(SimulationError, match=r"^nextpnr_ecp5: .*TRELLIS_IO: 401/ 365 109%$"):
        ecp5.place_and_route([tmp_path / "wide.v"], "wide")
