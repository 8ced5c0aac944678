"""From MyHDL to Verilog and VHDL with the hierarchy kept.

MyHDL flattens a design into one module. A block decorated with :class:`module` instead of
``myhdl.block`` stays a module of its own: it is the same block in simulation, and an instance of a
module where a block around it is converted. It is converted apart, once for every set of parameters
and port types it is used with.
"""

import copy
import inspect
import io
import os
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from myhdl import Signal, ToVerilogWarning, ToVHDLWarning, _simulator
from myhdl import _block as myhdl_block
from myhdl._block import _Block, block_decorator
from myhdl._extractHierarchy import _UserVerilogCode, _UserVhdlCode
from myhdl._Signal import _Signal
from myhdl.conversion._toVHDL import _ToVHDLConvertor

Language = Literal["verilog", "vhdl"]
SUFFIX = {"verilog": ".v", "vhdl": ".vhd"}
PACKAGE = "pck_myhdl_011.vhd"


class ConversionError(RuntimeError):
    """A block does not convert: MyHDL's message."""


# --------------------------------------------------------------------------------- keeping a module


class module(block_decorator):  # noqa: N801  (stands where `block` stands)
    """Decorator: a MyHDL block that conversion keeps as a module of its own.

    Ports are the arguments that are signals, or objects with signals as attributes (bundles, named
    ``argument_attribute``); all other arguments are parameters, compared with ==.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> _Block:
        """Instantiate: the block itself, or in a conversion an instance of its module."""
        design = _Design.current
        if design is not None and not self.is_kept(design):
            design = None
        function = self.func if design is None else _nothing
        name = myhdl_block._uniqueify_name(f"{self.func.__name__}{self.calls}")
        self.calls += 1
        block = _Block(
            function, self, name, self.srcfile, self.srcline, self.skipname, *args, **kwargs
        )
        if design is not None:
            design.instantiate(block, self, args, kwargs)
        return block

    def is_kept(self, design: "_Design") -> bool:
        """Whether this conversion keeps the block as a module."""
        return True


class leaf(module):  # noqa: N801
    """Decorator: a :class:`module` that is kept only where a target has its own Verilog for it.

    Other conversions flatten it, as any block.
    """

    def is_kept(self, design: "_Design") -> bool:
        """Whether this conversion keeps the block as a module."""
        return design.keep_leaves


def _nothing(*args: Any, **kwargs: Any) -> list[Any]:
    return []


def signals_of(name: str, value: Any) -> Iterator[tuple[str, _Signal]]:
    """The signals of an argument with their port names, as MyHDL names them."""
    if isinstance(value, _Signal):
        yield name, value
    elif not isinstance(value, type) and hasattr(value, "__dict__"):
        for attribute, inner in vars(value).items():
            yield from signals_of(f"{name}_{attribute}", inner)


def fresh(value: Any) -> Any:
    """A copy of an argument with new, unconnected signals of the same types."""
    if isinstance(value, _Signal):
        if value._type is bool:
            return Signal(bool(value._init))
        return Signal(type(value._init)(int(value._init), min=value.min, max=value.max))
    if any(signals_of("", value)):
        bundle = copy.copy(value)
        for attribute, inner in vars(value).items():
            object.__setattr__(bundle, attribute, fresh(inner))
        return bundle
    return value


def _kind(value: Any) -> Any:
    """What two arguments must have in common to share a module: port types, or the value."""
    signals = [(n, s._type, s.min, s.max, s._nrbits) for n, s in signals_of("", value)]
    return signals or value


class _Design:
    """The modules of one conversion, into one folder and one language."""

    current: "_Design | None" = None

    def __init__(self, language: Language, folder: Path, top: str, keep_leaves: bool):
        self.language = language
        self.folder = folder
        self.top = top
        self.keep_leaves = keep_leaves
        self.variants: dict[str, tuple[module, dict[str, Any]]] = {}
        self.used: dict[str, None] = {}  # in the block elaborated last; a set that keeps the order
        self.outputs: dict[str, set[str]] = {}  # of the modules that are written

    def name_of(self, function: module, arguments: dict[str, Any]) -> str:
        """The module's name: the function's, with a number where another module has it."""
        kinds = {n: _kind(v) for n, v in arguments.items()}
        for name, (other, known) in self.variants.items():
            if other is function and {n: _kind(v) for n, v in known.items()} == kinds:
                return name
        name = function.func.__name__
        taken = {self.top, *self.variants}
        number = 2
        while name in taken:
            name = f"{function.func.__name__}_{number}"
            number += 1
        self.variants[name] = function, {n: fresh(v) for n, v in arguments.items()}
        return name

    def instantiate(
        self, block: _Block, function: module, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> None:
        """Make ``block`` an instance of its module in the code of the block around it."""
        bound = inspect.signature(function.func).bind(*args, **kwargs)
        bound.apply_defaults()
        name = self.name_of(function, bound.arguments)
        self.used[name] = None
        signals = dict(p for n, v in bound.arguments.items() for p in signals_of(n, v))
        for port, signal in signals.items():
            signal._markUsed()
            if port in self.outputs.get(name, ()):
                signal.driven = "wire"
            else:
                signal.read = True
        block.sigdict = signals
        code = _VerilogInstance if self.language == "verilog" else _VhdlInstance
        setattr(block, f"{self.language}_code", code(name, block.name, signals))

    def convert(self, function: Callable[..., Any], arguments: dict[str, Any], name: str) -> None:
        """Convert a block after the modules that it instantiates."""
        raw = function.func if isinstance(function, block_decorator) else function
        self.used = {}
        self._elaborate(raw, arguments)
        for used in self.used:
            if used not in self.outputs:
                self.convert(*self.variants[used], used)
        block = self._elaborate(raw, {n: fresh(v) for n, v in arguments.items()})
        options = {"initial_values": False, "no_myhdl_header": True, "header": ""}
        if self.language == "verilog":
            options |= {"standard": "2001", "radix": "", "trace": False, "timescale": "1ns/1ps"}
            options |= {"prefer_blocking_assignments": True, "testbench": False}
        else:
            options |= {"component_declarations": None, "no_myhdl_package": False}
            options |= {"library": "work", "use_clauses": None, "architecture": "MyHDL"}
            options |= {"std_logic_ports": False}
        block.convert(hdl=self.language, path=str(self.folder), name=name, **options)
        path = self.folder / (name + SUFFIX[self.language])
        text = re.sub(r"[ \t]+$", "", path.read_text(), flags=re.M).strip()
        text = re.sub(r"\n{3,}", "\n\n", text) + "\n"
        path.write_text(text)
        pattern = r"^output .*?(\w+);" if self.language == "verilog" else r"^\s+(\w+): out "
        self.outputs[name] = set(re.findall(pattern, text, re.M))

    @staticmethod
    def _elaborate(function: Callable[..., Any], arguments: dict[str, Any]) -> _Block:
        myhdl_block._name_set.clear()
        for deco in _simulator._blocks:
            deco.calls = 0
        deco = block_decorator(function)
        return _Block(
            function, deco, function.__name__, deco.srcfile, deco.srcline, False, **arguments
        )


class _Instance:
    """The code of an instance, written when MyHDL has named the signals."""

    def __init__(self, module_name: str, name: str, signals: dict[str, _Signal]):
        self.module_name = module_name
        self.name = name
        self.signals = signals


class _VerilogInstance(_Instance, _UserVerilogCode):
    def __str__(self) -> str:
        connections = ",\n".join(f"    .{p}({s._name})" for p, s in self.signals.items())
        return f"\n{self.module_name} {self.name} (\n{connections}\n);\n"


class _VhdlInstance(_Instance, _UserVhdlCode):
    def __str__(self) -> str:
        connections = ",\n".join(f"    {p} => {s._name}" for p, s in self.signals.items())
        entity = f"{self.name}: entity work.{self.module_name}(MyHDL)"
        return f"\n{entity} port map (\n{connections}\n);\n"


# --------------------------------------------------------------------------------------- conversion


class _Pickler(pickle.Pickler):
    """Pickles blocks by name and signals by type."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, block_decorator):
            return value.__qualname__
        if isinstance(value, _Signal):
            copied = fresh(value)
            return Signal, (copied._init,)
        return NotImplemented


def convert(
    function: Callable[..., Any],
    arguments: dict[str, Any],
    folder: str | Path,
    *,
    language: Language = "verilog",
    name: str | None = None,
    keep_leaves: bool = False,
) -> list[Path]:
    """Convert a block to Verilog or VHDL in a fresh Python process.

    Args:
        function: decorated with ``myhdl.block`` or :class:`module`, at the top level of a file.
        arguments: all its arguments by name. Signals (and bundles of them) become ports: only their
            types count. All else are parameters.
        folder: where the files go; it is made.
        language: "verilog" or "vhdl" (read with VHDL-2008).
        name: of the top module; the function's by default.
        keep_leaves: whether a :class:`leaf` is a module.

    Returns:
        The files, a module each, every one after those that it instantiates. In VHDL the first is
        MyHDL's package.

    Raises:
        ConversionError: MyHDL refuses, or a signal is read that nothing drives.
    """
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    request = io.BytesIO()
    what = function, arguments, folder, language, name or function.__name__, keep_leaves
    _Pickler(request).dump(what)
    # MyHDL writes sensitivity lists in the order of a set of names
    environment = {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    environment["PYTHONHASHSEED"] = "0"
    process = subprocess.run(
        [sys.executable, "-c", "from hdl.module import _serve; _serve()"],
        input=request.getvalue(),
        capture_output=True,
        env=os.environ | environment,
    )
    if process.returncode:
        raise ConversionError(f"{function.__name__}:\n{process.stderr.decode().strip()}")
    return [folder / line for line in process.stdout.decode().split()]


def _stack(context: int = 1) -> list[tuple[Any, ...]]:
    """inspect.stack() without source lines: MyHDL wants names, and finding lines takes longest."""
    frame: FrameType | None = sys._getframe(1)
    stack = []
    while frame is not None:
        stack.append((frame, None, None, frame.f_code.co_name))
        frame = frame.f_back
    return stack


def _distinguish(
    convertor: Any, hierarchy: Any, interface: Any, signals: Any, memories: Any, code: Any
) -> None:
    """Rename signals that differ in case only, like x and X: VHDL does not tell them apart."""
    names = {name.lower() for name in interface.argnames}
    used = [m for m in memories if m._used]
    things = [(m, "name") for m in used] + [(s, "_name") for s in signals if s._used]
    for thing, attribute in things:
        name = getattr(thing, attribute)
        if name in interface.argnames:
            continue
        while name.lower() in names:
            name += "_u"
        names.add(name.lower())
        setattr(thing, attribute, name)
    for memory in used:
        for n, signal in enumerate(memory.mem):
            signal._name = f"{memory.name}({n})"
    for signal in signals:
        for part in signal._slicesigs:
            part._setName("VHDL")


def _serve() -> None:
    """The fresh process's work: the request on stdin, the names of the files on stdout."""
    inspect.stack = _stack  # type: ignore[assignment]
    _ToVHDLConvertor._convert_filter = _distinguish
    function, arguments, folder, language, name, keep_leaves = pickle.load(sys.stdin.buffer)
    for category in (ToVerilogWarning, ToVHDLWarning):
        warnings.simplefilter("ignore", category)
        warnings.filterwarnings("error", "Signal is not driven", category)
    design = _Design.current = _Design(language, folder, name, keep_leaves)
    design.convert(function, arguments, name)
    package = [PACKAGE] if language == "vhdl" else []
    print(*package, *(n + SUFFIX[language] for n in design.outputs), sep="\n")
