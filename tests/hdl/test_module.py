import random
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from myhdl import Signal, always, always_comb, block, concat, intbv

from hdl import tools
from hdl.module import ConversionError, convert, leaf, module
from hdl.tools import (
    SimulationError,
    check_vhdl,
    lint,
    run_icarus,
    run_myhdl,
    run_vectors,
)

OUTPUTS = ["o_valid", "o_data", "total"]
WIDTH = 70  # wider than two machine words
MODULES = ["hold_2", "hold_3", "stage", "hold", "chain"]  # 70, 1 and 8 bits wide


def bits(width):
    return Signal(intbv(0)[width:])


def bit():
    return Signal(bool(0))


def word(width):
    return Signal(intbv(0, min=-(1 << (width - 1)), max=1 << (width - 1)))


class Bundle:
    def __init__(self, width):
        self.valid = bit()
        self.data = bits(width)


@module
def hold(clk, d, q):
    @always(clk.posedge)
    def clock():
        q.next = d

    return clock


@module
def stage(clk, i, o, width):
    data = bits(width)

    @always_comb
    def rotate():
        o.data.next = concat(data[width - 1 :], data[width - 1])

    return hold(clk, i.data, data), hold(clk, i.valid, o.valid), rotate


@block
def chain(clk, i, o, first, total, stages):
    """``stages`` stages, and the signed word ``first`` summed with itself a cycle later."""
    links = [i, *(Bundle(WIDTH) for _ in range(stages - 1)), o]
    pipeline = [stage(clk, links[n], links[n + 1], WIDTH) for n in range(stages)]
    history = [word(8) for _ in range(2)]
    taps = [hold(clk, d, q) for d, q in zip([first, history[0]], history, strict=True)]

    @always_comb
    def add():
        total.next = history[0] + history[1]

    return pipeline, taps, add


@block
def forgotten(clk, q):
    nothing = bits(4)

    @always(clk.posedge)
    def clock():
        q.next = nothing

    return clock


@block
def truncating(clk, d, q):
    @always(clk.posedge)
    def clock():
        q.next = d

    return clock


@block
def keyword(clk, d, q):
    reg = bits(8)

    @always(clk.posedge)
    def clock():
        reg.next = d
        q.next = reg

    return clock


@block
def spectrum(clk, d, q):
    """Names as in the papers: VHDL does not tell x and X apart."""
    x, X = bits(8), bits(8)
    low = X(4, 0)
    memory = [bits(8) for _ in range(2)]
    MEMORY = [bits(8) for _ in range(2)]

    @always(clk.posedge)
    def clock():
        x.next = d
        memory[0].next = x
        MEMORY[1].next = memory[0]
        X.next = MEMORY[1]
        q.next = low

    return clock


@module
def stage_2(clk, d, q):
    """The name that the second variant of ``stage`` would have."""

    @always(clk.posedge)
    def clock():
        q.next = d

    return clock


@block
def namesakes(clk, i, o, d, q):
    return stage_2(clk, d, q), stage(clk, i, o, 8)


def chain_arguments(stages=3):
    signals = {"clk": bit(), "i": Bundle(WIDTH), "o": Bundle(WIDTH), "first": word(8)}
    return signals | {"total": word(9), "stages": stages}


@pytest.fixture(scope="module")
def verilog(tmp_path_factory):
    return convert(chain, chain_arguments(), tmp_path_factory.mktemp("verilog"))


@pytest.fixture(scope="module")
def vectors():
    rng = random.Random(1)
    return {
        "i_valid": [rng.getrandbits(1) for _ in range(40)],
        "i_data": [0, (1 << WIDTH) - 1, *(rng.getrandbits(WIDTH) for _ in range(38))],
        "first": [-128, -128, 127, 127, *(rng.randint(-128, 127) for _ in range(36))],
    }


def expected(vectors):
    first = vectors["first"]
    return {
        "o_valid": vectors["i_valid"][:-3],
        "o_data": [(v << 3 | v >> (WIDTH - 3)) % (1 << WIDTH) for v in vectors["i_data"][:-3]],
        "total": [a + b for a, b in pairwise(first[1:-1])],
    }


def settled(answers):
    """What is left of the answers once the holds are filled."""
    assert all(len(values) == 40 for values in answers.values())
    return {name: values[3:] for name, values in answers.items()}


def test_every_module_is_written_once_after_those_it_instantiates(verilog):
    names = [path.stem for path in verilog]
    assert names == MODULES
    text = verilog[-1].read_text()
    assert text.count("\nstage ") == 3
    assert text.count("\nhold ") == 2
    assert "always @(posedge" not in text


def test_no_two_modules_share_a_name(tmp_path):
    signals = {"clk": bit(), "i": Bundle(8), "o": Bundle(8), "d": bit(), "q": bit()}
    files = convert(namesakes, signals, tmp_path, name="stage")
    assert [path.stem for path in files] == ["stage_2", "hold", "hold_2", "stage_3", "stage"]
    lint(files, "stage")


def test_conversion_is_reproducible(verilog, tmp_path):
    again = convert(chain, chain_arguments(), tmp_path)
    assert [p.read_text() for p in again] == [p.read_text() for p in verilog]


@block
def chosen(one, two, three, four, five, six, y):
    @always_comb
    def choose():
        if one and two:
            y.next = three
        elif four:
            y.next = five
        else:
            y.next = six

    return choose


def test_sensitivity_lists_are_reproducible(tmp_path):
    ports = {n: bit() for n in ("one", "two", "three", "four", "five", "six", "y")}
    texts = {convert(chosen, ports, tmp_path / str(n))[0].read_text() for n in range(3)}
    assert len(texts) == 1


def test_myhdl(vectors):
    assert settled(run_myhdl(chain, chain_arguments(), vectors, OUTPUTS)) == expected(vectors)


def test_verilator(verilog, vectors):
    lint(verilog, "chain")
    answers = run_vectors(verilog, "chain", vectors, OUTPUTS)
    assert settled(answers) == expected(vectors)


def test_icarus(verilog, vectors, icarus):
    answers = run_icarus(verilog, "chain", vectors, OUTPUTS)
    assert settled(answers) == expected(vectors)
    assert answers["o_data"][:3] == [None] * 3  # X: no hold has a value yet


def test_vhdl(ghdl, tmp_path):
    files = convert(chain, chain_arguments(), tmp_path, language="vhdl")
    assert [path.stem for path in files[1:]] == MODULES
    check_vhdl(files, "chain")
    files[-1].write_text(files[-1].read_text().replace("work.stage(", "work.stages("))
    with pytest.raises(SimulationError, match="stages"):
        check_vhdl(files, "chain")


def test_vhdl_names_that_differ_in_case(ghdl, tmp_path):
    files = convert(spectrum, {"clk": bit(), "d": bits(8), "q": bits(4)}, tmp_path, language="vhdl")
    check_vhdl(files, "spectrum")


def test_a_model_is_built_once_for_its_sources(verilog, tmp_path, monkeypatch):
    inputs = {"i_valid": 1, "i_data": 0, "first": 0}
    run_vectors(verilog, "chain", inputs, OUTPUTS, 2)
    run_tool = tools.run_tool

    def no_verilator(command, **options):
        assert Path(command[0]).name != "verilator", "builds again"
        return run_tool(command, **options)

    monkeypatch.setattr(tools, "run_tool", no_verilator)
    run_vectors(verilog, "chain", inputs, OUTPUTS, 2)
    changed = [Path(shutil.copy(path, tmp_path)) for path in verilog]
    changed[-1].write_text(changed[-1].read_text() + "// changed\n")
    with pytest.raises(AssertionError, match="builds again"):
        run_vectors(changed, "chain", inputs, OUTPUTS, 2)


def test_a_signal_that_nothing_drives_is_an_error(tmp_path):
    with pytest.raises(ConversionError, match="Signal is not driven: nothing"):
        convert(forgotten, {"clk": bit(), "q": bits(4)}, tmp_path)


def test_lint_finds_truncation_and_keywords(tmp_path):
    files = convert(truncating, {"clk": bit(), "d": bits(9), "q": bits(8)}, tmp_path / "a")
    with pytest.raises(SimulationError, match="WIDTHTRUNC"):
        lint(files, "truncating")
    files = convert(keyword, {"clk": bit(), "d": bits(8), "q": bits(8)}, tmp_path / "b")
    with pytest.raises(SimulationError, match="syntax error"):
        lint(files, "keyword")


def test_vectors_must_name_the_ports(verilog):
    with pytest.raises(ValueError, match=r"chain: inputs \['first'\] given, its ports are"):
        run_vectors(verilog, "chain", {"first": 0}, ["total"], 1)
    inputs = {"i_valid": 0, "i_data": 0, "first": 0}
    with pytest.raises(ValueError, match=r"chain: no output ports \['sum'\]"):
        run_vectors(verilog, "chain", inputs, ["sum"], 1)


def test_a_missing_tool_is_named_with_its_package(monkeypatch):
    assert tools.missing("make") is None
    monkeypatch.setenv("PATH", "")
    assert tools.missing("iverilog") == "iverilog is missing: apt-get install iverilog"


@leaf
def delayed(clk, d, q):
    @always(clk.posedge)
    def clock():
        q.next = d

    return clock


@block
def twice(clk, d, q):
    middle = bits(8)
    return delayed(clk, d, middle), delayed(clk, middle, q)


def test_a_leaf_is_a_module_only_where_it_is_wanted(tmp_path):
    arguments = {"clk": bit(), "d": bits(8), "q": bits(8)}
    flat = convert(twice, arguments, tmp_path / "flat")
    kept = convert(twice, arguments, tmp_path / "kept", keep_leaves=True)
    assert [path.stem for path in flat] == ["twice"]
    assert [path.stem for path in kept] == ["delayed", "twice"]
    inputs = {"d": list(range(20))}
    for files in flat, kept:
        assert run_vectors(files, "twice", inputs, ["q"])["q"][2:] == list(range(18))
    assert run_myhdl(twice, arguments, inputs, ["q"])["q"][2:] == list(range(18))
