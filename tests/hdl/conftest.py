import os

import pytest

from hdl.tools import missing


def need(tool):
    line = missing(tool)
    if line is None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(line)
    pytest.skip(line)


@pytest.fixture
def icarus():
    """Skip the test where Icarus is not installed; in CI fail it."""
    need("iverilog")


@pytest.fixture
def ghdl():
    """Skip the test where GHDL is not installed; in CI fail it."""
    need("ghdl")
