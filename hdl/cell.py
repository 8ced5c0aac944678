"""What a recurrent cell does after the matrix products: a cell a cycle.

k lanes beside each other take a cell block. A pre-activation goes to its activation unsaturated,
since that clips; a product is rounded within the sum that it enters.
"""

from myhdl import block

from hdl.activation import ACTIVATION_LATENCY, activation
from hdl.arith import (
    add,
    add_scaled,
    delay,
    multiply,
    register,
    round_sum,
    saturate,
    shift_left,
    shift_round,
    subtract,
    word,
)

GRU_LATENCY = 2 * ACTIVATION_LATENCY + 6
"""Cycles from z to h_o of :func:`gru_lane`."""


def lstm_latency(peephole):
    """Cycles from z to h and c_o of :func:`lstm_lane`: 17 with peepholes, else 13."""
    return 2 * ACTIVATION_LATENCY + (9 if peephole else 5)


@block
def lstm_lane(
    clk,
    z0,
    z1,
    z2,
    z3,
    b0,
    b1,
    b2,
    b3,
    c_i,
    h,
    c_o,
    formats,
    cell_activation="tanh",
    p0=None,
    p1=None,
    p2=None,
):
    """One LSTM cell after the matrix products.

    Equals :func:`ernn.fixed.lstm_cell` bit for bit.

    Latency, resources
        ``lstm_latency(peephole)`` cycles, a cell a cycle; 8 DSPs, 11 with peepholes.

    Ports
        z0, z1, z2, z3 : W x + U h of the gates i, f, g, o; formats.preactivation
        b0, b1, b2, b3 : their biases; formats.preactivation
        c_i : the state before; formats.cell
        h : the hidden state; formats.gate
        c_o : the new state, in the same cycle as h; formats.cell
        p0, p1, p2 : peephole weights of i, f and o, formats.peephole; None without
    """
    gate, cell = formats.gate, formats.cell
    P, G, C = formats.preactivation.word_length, gate.word_length, cell.word_length
    peephole = p0 is not None
    ready = 2 if peephole else 1  # cycle of the pre-activations of i, f and g

    sum_i, sum_f, sum_g, sum_o = (word(P + 1) for _ in range(4))
    logic = [
        add(clk, z0, b0, sum_i),
        add(clk, z1, b1, sum_f),
        add(clk, z2, b2, sum_g),
        add(clk, z3, b3, sum_o),
    ]

    if peephole:
        seen_length = max(P + 1, len(p0) + C) + 1
        seen_i, seen_f, seen_o = (word(seen_length) for _ in range(3))
        late_g = word(P + 1)
        logic += [
            peek(clk, p0, c_i, sum_i, seen_i, formats),
            peek(clk, p1, c_i, sum_f, seen_f, formats),
            register(clk, sum_g, late_g),
        ]
    else:
        seen_i, seen_f, late_g = sum_i, sum_f, sum_g

    i, f, g, o, tanh_c = (word(G) for _ in range(5))
    unit = formats.tanh if cell_activation == "tanh" else formats.sigmoid
    logic += [
        activation(clk, seen_i, i, formats.sigmoid, P),
        activation(clk, seen_f, f, formats.sigmoid, P),
        activation(clk, late_g, g, unit, P),
    ]

    # c = f c + i g
    align = gate.fraction_length - cell.fraction_length
    c_late, c = word(C), word(C)
    kept, entered, aligned = word(G + C), word(2 * G), word(G + C + align)
    shift = gate.fraction_length + align
    exact = word(max(len(aligned), len(entered)) + 2 - shift)
    logic += [
        delay(clk, c_i, c_late, ready + ACTIVATION_LATENCY),
        multiply(clk, f, c_late, kept),
        multiply(clk, i, g, entered),
        shift_left(kept, aligned, align),
        round_sum(clk, aligned, entered, exact, shift),
        saturate(clk, exact, c),
    ]

    # h = o tanh(c)
    o_late, tanh_late, product = word(G), word(G), word(2 * G)
    c_ready = ready + ACTIVATION_LATENCY + 3
    if peephole:
        p2_late, sum_late = word(len(p2)), word(P + 1)
        logic += [
            delay(clk, p2, p2_late, c_ready),
            delay(clk, sum_o, sum_late, c_ready),
            peek(clk, p2_late, c, sum_late, seen_o, formats),
            activation(clk, seen_o, o_late, formats.sigmoid, P),
            activation(clk, exact, tanh_c, formats.tanh_cell, C),
            delay(clk, tanh_c, tanh_late, 3),
        ]
    else:
        logic += [
            activation(clk, sum_o, o, formats.sigmoid, P),
            delay(clk, o, o_late, c_ready - ready - 1),
            activation(clk, exact, tanh_late, formats.tanh_cell, C),
        ]
    logic += [
        multiply(clk, o_late, tanh_late, product),
        shift_round(clk, product, h, gate.fraction_length),
        delay(clk, c, c_o, lstm_latency(peephole) - c_ready),
    ]
    return logic


@block
def peek(clk, weight, c, total, seen, formats):
    """Add a peephole's rounded product to a sum: two cycles after weight and c, one after total."""
    shift = formats.peephole.fraction_length + formats.cell.fraction_length
    product = word(len(weight) + len(c))
    return (
        multiply(clk, weight, c, product),
        add_scaled(clk, total, product, seen, shift - formats.preactivation.fraction_length),
    )


@block
def gru_lane(clk, z0, z1, z2, z3, b0, b1, b2, b3, h_i, h_o, formats):
    """One GRU cell after the matrix products, reset after the matrix.

    Equals :func:`ernn.fixed.gru_cell` bit for bit.

    Latency, resources
        ``GRU_LATENCY`` cycles, a cell a cycle; 5 DSPs.

    Ports
        z0, z1, z2, z3 : W x + U h of r and u, W x of n, U h of n; formats.preactivation
        b0, b1, b2, b3 : their biases; formats.preactivation
        h_i, h_o : the state before and the new one; formats.gate
    """
    P, G = formats.preactivation.word_length, formats.gate.word_length
    shift = formats.gate.fraction_length

    sum_r, sum_u, sum_n, sum_h = (word(P + 1) for _ in range(4))
    r, u = word(G), word(G)
    recurrent, recurrent_late = word(P), word(P)
    logic = [
        add(clk, z0, b0, sum_r),
        add(clk, z1, b1, sum_u),
        add(clk, z2, b2, sum_n),
        add(clk, z3, b3, sum_h),
        activation(clk, sum_r, r, formats.sigmoid, P),
        activation(clk, sum_u, u, formats.sigmoid, P),
        saturate(clk, sum_h, recurrent),
        delay(clk, recurrent, recurrent_late, ACTIVATION_LATENCY - 1),
    ]

    # n = tanh(W x + b + r (U h + b))
    reset, sum_late, n = word(G + P), word(P + 1), word(G)
    candidate = word(max(P + 1, G + P - shift) + 1)
    logic += [
        multiply(clk, r, recurrent_late, reset),
        delay(clk, sum_n, sum_late, ACTIVATION_LATENCY + 1),
        add_scaled(clk, sum_late, reset, candidate, shift),
        activation(clk, candidate, n, formats.tanh, P),
    ]

    # h = n + u (h - n): between n and h, so it needs no saturation
    h_late, u_late, n_late = word(G), word(G), word(G)
    step, update = word(G + 1), word(2 * G + 1)
    logic += [
        delay(clk, h_i, h_late, 2 * ACTIVATION_LATENCY + 3),
        subtract(clk, h_late, n, step),
        delay(clk, u, u_late, ACTIVATION_LATENCY + 3),
        multiply(clk, u_late, step, update),
        delay(clk, n, n_late, 2),
        add_scaled(clk, n_late, update, h_o, shift),
    ]
    return logic
