"""How long everything in the core takes, from one part to the next."""

from hdl.arith import MEMORY_LATENCY
from hdl.cell import POOL_LATENCY, STATE_LEAD, gru_latency, linear_latency, lstm_latency
from hdl.fft import fft_latency
from hdl.pe import GROUP_LATENCY, OPERANDS_LATENCY, gather_latency, row_latency, weight_lead
from hdl.program import Kind

LINEAR, LSTM, GRU = int(Kind.LINEAR), int(Kind.LSTM), int(Kind.GRU)

ROWS_DELAY = MEMORY_LATENCY + STATE_LEAD
"""Cycles from a cell command to the pre-activations at the lanes."""


def bus_delay(cfg):
    """Cycles from a matrix command, the weights' address with it, to the first group's operands."""
    return weight_lead(cfg)


def row_lead(cfg):
    """Cycles from a cell command to the read of its rows."""
    return STATE_LEAD - cfg.relaxed


def load_delay(cfg):
    """Cycles from a loaded word to the last of the memories."""
    return cfg.groups + 4


def sums_delay(cfg):
    """Cycles from a row's last command to its sums, all groups together, at :func:`row`."""
    return bus_delay(cfg) + GROUP_LATENCY + gather_latency(cfg.groups)


def rows_delay(cfg):
    """Cycles from a row's last command to its write into the row memory."""
    return sums_delay(cfg) + row_latency(cfg)


def unit_latency(kind, cfg):
    """Cycles from pre-activations to what the lanes of a kind give."""
    latency = {LINEAR: linear_latency, LSTM: lstm_latency, GRU: gru_latency}[kind](cfg)
    return latency + POOL_LATENCY * (kind == LINEAR and cfg.images)


def lane_latency(kind, cfg):
    """Cycles from pre-activations to results: relaxed, the choice among the kinds takes one."""
    return unit_latency(kind, cfg) + cfg.relaxed


def kinds(cfg):
    """What the core has lanes for."""
    return [LINEAR] + [LSTM] * ("lstm" in cfg.cells) + [GRU] * ("gru" in cfg.cells)


def spectrum_delay(cfg):
    """Cycles from a block at the FFT to the write of its operands."""
    return fft_latency(cfg.block_size, cfg.relaxed) + OPERANDS_LATENCY
