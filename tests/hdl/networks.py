"""Small networks and one core that runs them all, for the tests of whole accelerators."""

from layers import formats, random_layer, random_linear

from ernn.fixed import FixedPoint
from ernn.quantize.integer import IntegerModel
from hdl.compiler import compile_model, configure
from hdl.config import covering

GATE, INPUT = FixedPoint(8, 6), FixedPoint(8, 5)
"""Of what recurrent layers without projection give, and of the networks' inputs."""


def network(*layers):
    return IntegerModel(tuple(layers))


def projected(seed=0):
    """An LSTM with all that it can have."""
    fmt = formats(peephole=True, projection=True)
    return network(random_layer("lstm", 4, 14, 9, fmt, proj_size=6, seed=seed, amplitude=0.5))


def classifier():
    """A GRU of the other form, and a fully connected layer of few positive results."""
    return network(
        random_layer("gru", 4, 11, 10, formats(), reset_after=False, amplitude=0.5),
        random_linear(4, 10, 5, GATE, FixedPoint(10, 5), activation="relu"),
    )


def stack():
    """Two layers of different kinds, sizes and fractions."""
    return network(
        random_layer("lstm", 4, 3, 6, formats(fraction=3), cell_activation="sigmoid"),
        random_layer("gru", 4, 6, 9, formats(source=GATE), amplitude=0.5),
    )


SYSTEM = {
    "projected": projected(),
    "others": projected(1),
    "classifier": classifier(),
    "stack": stack(),
}
"""Networks for :data:`CORE`; "others" is "projected" with other weights."""
CORE = covering([configure(model, 8, fold=2, streams=2) for model in SYSTEM.values()])
PROGRAMS = {name: compile_model(model, CORE) for name, model in SYSTEM.items()}
PROGRAMS["interleaved"] = compile_model(SYSTEM["classifier"], CORE, streams=2)
