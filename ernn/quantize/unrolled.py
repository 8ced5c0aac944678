"""A recurrent layer over a whole sequence in fake fixed point, and its gradient.

Forward is what the integer layers of :mod:`ernn.quantize.integer` compute, code for code. Backward
is back-propagation through time of the real-valued layer at the values that forward had, with
straight-through gradients. Both are written out by hand: through a graph of the small operations
of every frame the same takes several times as long.

Shapes: codes are words first, k x batch x gates x blocks; real values are time x batch x size.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.functional import pad

from ernn.fixed import FixedPoint, output_spectrum
from ernn.quantize.fake import (
    Accumulator,
    Lookup,
    Transform,
    from_words,
    inside,
    round_,
    saturate_,
    to_words,
)
from ernn.quantize.integer import LayerFormats


class Cell(nn.Module):
    """The fixed-point side of one direction of a layer: formats, transforms and tables.

    Args:
        formats: of everything.
        block_size: k.
        hidden_size: cells.
        sigmoid_g: whether the unit of the LSTM's g is the sigmoid.
    """

    def __init__(
        self, formats: LayerFormats, block_size: int, hidden_size: int, sigmoid_g: bool = False
    ) -> None:
        super().__init__()
        self.formats = formats
        self.block_size = block_size
        self.hidden_size = hidden_size
        self.sigmoid_g = sigmoid_g
        fmt = formats.cell
        self.transform = Transform(block_size)
        self.gate_units = Lookup(fmt.units, fmt.preactivation, fmt.gate)
        self.cell_unit = Lookup(fmt.units[1:], fmt.cell, fmt.gate)

    def input_sums(self, x: Tensor, W: Accumulator) -> Tensor:
        """Sums (time, k, batch, rows) of W x for real frames x (time, batch, input)."""
        codes = to_words(x * 2.0**self.formats.input.fraction_length, self.block_size)
        sums = W(self.transform.rfft(codes.flatten(1, 2)))
        return sums.unflatten(1, x.shape[:2]).transpose(0, 1)

    def sums(self, state: Tensor, U: Accumulator) -> Tensor:
        """Sums (k, batch, rows) of U h for codes h (k, batch, blocks)."""
        return U(self.transform.rfft(state))

    def product_(self, sums: Tensor, fraction_length: int, output: FixedPoint) -> Tensor:
        """Sums (k, ...) of that fraction to codes (k, ...) of the output; overwrites the sums."""
        round_(sums, fraction_length - output.fraction_length)
        saturate_(sums, output_spectrum(output, self.block_size))
        y = round_(self.transform.irfft(sums), self.block_size.bit_length() - 1)
        return saturate_(y, output)

    def preactivation_(self, sums: Tensor) -> Tensor:
        """Sums (k, batch, gates, blocks) to pre-activations without bias; overwrites the sums."""
        return self.product_(
            sums, self.formats.accumulator_fraction, self.formats.cell.preactivation
        )

    def gate_codes_(self, real: Tensor) -> Tensor:
        """Round real values that belong to a gate or a state; overwrites them."""
        gate = self.formats.cell.gate
        return saturate_(round_(real, -gate.fraction_length), gate)

    def bias_codes(self, bias: Tensor) -> Tensor:
        """Real biases (gates, hidden), pre-activation format, to codes (k, 1, gates, blocks)."""
        scale = 2.0**self.formats.cell.preactivation.fraction_length
        return to_words(bias * scale, self.block_size).unsqueeze(1)

    def existing(self, size: int, like: Tensor) -> Tensor | None:
        """1 for a word of a vector of that size, 0 for padding: (k, 1, blocks); None if whole."""
        if size % self.block_size == 0:
            return None
        return to_words(like.new_ones(1, size), self.block_size)

    def extra_repr(self) -> str:
        """Show the formats inside the cell."""
        fmt = self.formats.cell
        return (
            f"preactivation={fmt.preactivation}, gate={fmt.gate}, cell={fmt.cell}, "
            f"segments={fmt.segments}, output={self.formats.output}"
        )


class LSTMSequence(Function):
    """Outputs (time, batch, output) and the last c (batch, hidden) of an LSTM layer from zero.

    Equals the values of :class:`ernn.quantize.integer.IntegerLSTM`.

    Arguments of ``apply``
        cell : Cell
        spectra : Accumulators of W, U and of the projection or None
        x : (time, batch, input), values of the input format
        W, U : (4 hidden, input), (4 hidden, output), the dense forms of the spectra
        bias : (4, hidden), values of the pre-activation format
        peephole : (3, hidden), values of its format, or None
        projection : (output, hidden), the dense form of its spectra, or None
    """

    @staticmethod
    def forward(
        ctx: Any,
        cell: Cell,
        spectra: tuple[Accumulator, Accumulator, Accumulator | None],
        x: Tensor,
        W: Tensor,
        U: Tensor,
        bias: Tensor,
        peephole: Tensor | None,
        projection: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Run, and keep what the gradient needs."""
        formats, fmt, k = cell.formats, cell.formats.cell, cell.block_size
        of_input, of_state, of_cell = spectra
        u = cell.input_sums(x, of_input).unflatten(-1, (4, -1))  # (time, k, batch, 4, blocks)
        frames, _, batch, _, blocks = u.shape
        b = cell.bias_codes(bias)
        units, cell_unit = cell.gate_units, cell.cell_unit
        starts = x.new_tensor([units.start(n) for n in (0, 0, 0 if cell.sigmoid_g else 1)])[:, None]
        start_o, start_c = units.start(0), cell_unit.start()
        one_cell = 2.0**fmt.cell.fraction_length
        peep = None
        if peephole is not None:
            to_preactivation = fmt.preactivation.fraction_length - fmt.cell.fraction_length
            peep = to_words(peephole * 2.0**to_preactivation, k).unsqueeze(1)  # (k, 1, 3, blocks)
        exists = cell.existing(cell.hidden_size, x)
        output_size = len(projection) if projection is not None else cell.hidden_size
        output_exists = cell.existing(output_size, x)

        places = x.new_empty(frames, k, batch, 4, blocks)
        c_codes = x.new_empty(frames, k, batch, blocks)
        h_codes = x.new_empty(frames, k, batch, blocks)
        y_codes = h_codes
        if of_cell is not None:
            y_codes = x.new_empty(frames, k, batch, -(-output_size // k))
        y, c = torch.zeros_like(y_codes[0]), torch.zeros_like(c_codes[0])
        for t in range(frames):
            sums = u[t] + cell.sums(y, of_state).view(u.shape[1:])
            z = cell.preactivation_(sums).add_(b)
            if peep is not None:
                z[:, :, :2] += round_(peep[:, :, :2] * c.unsqueeze(2), 0)
            ifg = units.places_(saturate_(z[:, :, :3], fmt.preactivation), starts)
            i, f, g = units.values.take(ifg.long()).unbind(2)
            c = (f * c).addcmul_(i, g, value=one_cell).add_(0.5).floor_()
            c = saturate_(c, fmt.cell)
            if peep is not None:
                z[:, :, 3] += round_(peep[:, :, 2] * c, 0)
            o = units.places_(saturate_(z[:, :, 3], fmt.preactivation), start_o)
            h = units.values.take(o.long())
            h *= cell_unit.values.take(cell_unit.places_(c.clone(), start_c).long())
            y = cell.gate_codes_(h)
            if exists is not None:
                y *= exists
            places[t], c_codes[t], h_codes[t] = z, c, y
            if of_cell is not None:
                assert formats.weight_projection is not None
                fraction = formats.weight_projection.fraction_length + fmt.gate.fraction_length
                y = cell.product_(cell.sums(y, of_cell), fraction, formats.output)
                if output_exists is not None:
                    y *= output_exists
                y_codes[t] = y

        ctx.cell = cell
        real_y = from_words(y_codes, output_size, 1) * 2.0**-formats.output.fraction_length
        ctx.save_for_backward(
            x, W, U, peephole, projection, real_y, places, c_codes, h_codes, y_codes
        )
        last_c = from_words(c, cell.hidden_size) / one_cell
        ctx.mark_non_differentiable(last_c)
        return real_y, last_c

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the arguments."""
        dy = gradients[0]
        x, W, U, peephole, projection, y, places, c_codes, h_codes, y_codes = ctx.saved_tensors
        cell, fmt, size = ctx.cell, ctx.cell.formats.cell, ctx.cell.hidden_size
        frames, batch = x.shape[:2]
        at = places.long()
        i, f, g, o = from_words(cell.gate_units.values.take(at), size, 1).unbind(2)
        s_i, s_f, s_g, s_o = from_words(cell.gate_units.slopes.take(at), size, 1).unbind(2)
        codes = from_words(c_codes, size, 1)  # (time, batch, hidden)
        c = codes * 2.0**-fmt.cell.fraction_length
        c_before = pad(c[:-1], (0, 0, 0, 0, 1, 0))
        c_passes = inside(codes, fmt.cell)
        at = cell.cell_unit.places_(codes.clone(), cell.cell_unit.start()).long()
        tanh_c, s_c = cell.cell_unit.values.take(at), cell.cell_unit.slopes.take(at)

        # What a gradient of h, or of c, is multiplied by on its way to ...
        h_to_o, h_to_c = tanh_c * s_o, o * s_c
        c_to_ifg = torch.stack((g * s_i, c_before * s_f, i * s_g), 2)
        if projection is not None:
            y_passes = inside(from_words(y_codes, y.shape[-1], 1), cell.formats.output)
            dy = dy * y_passes
        else:
            dy = dy.clone()
        dz = x.new_empty(frames, batch, 4, size)
        dc = torch.zeros_like(c[0])
        for t in reversed(range(frames)):
            if t + 1 < frames:
                back = dz[t + 1].flatten(1) @ U
                dy[t] += back if projection is None else back * y_passes[t]
            dh = dy[t] if projection is None else dy[t] @ projection
            torch.mul(dh, h_to_o[t], out=dz[t, :, 3])
            dc.addcmul_(dh, h_to_c[t])
            if peephole is not None:
                dc.addcmul_(dz[t, :, 3], peephole[2])
            dc *= c_passes[t]
            torch.mul(dc.unsqueeze(1), c_to_ifg[t], out=dz[t, :, :3])
            dc *= f[t]
            if peephole is not None:
                dc += (dz[t, :, :2] * peephole[:2]).sum(1)

        dz_i, dz_f, _, dz_o = dz.unbind(2)
        of_peephole, of_projection = None, None
        if peephole is not None:
            pairs = (dz_i, c_before), (dz_f, c_before), (dz_o, c)
            of_peephole = torch.stack([(a * b).sum((0, 1)) for a, b in pairs])
        if projection is not None:
            h = from_words(h_codes, size, 1) * 2.0**-fmt.gate.fraction_length
            of_projection = dy.flatten(0, 1).T @ h.flatten(0, 1)
        of_bias = dz.sum((0, 1))
        dz = dz.flatten(2)
        of_x, of_W, of_U = _of_matrices(dz, dz, x, y, W)
        return None, None, of_x, of_W, of_U, of_bias, of_peephole, of_projection


class GRUSequence(Function):
    """Outputs (time, batch, hidden) of a GRU layer from zero.

    Equals the values of :class:`ernn.quantize.integer.IntegerGRU`.

    Arguments of ``apply``
        cell : Cell
        reset_after : whether r multiplies U h + b, or h
        spectra : Accumulators of W, U and, if the reset is before, of the candidate's rows of U
        x : (time, batch, input), values of the input format
        W, U : (3 hidden, input), (3 hidden, hidden), the dense forms of the spectra
        bias : (4, hidden), values of the pre-activation format: r, z, n of input and of state
    """

    @staticmethod
    def forward(
        ctx: Any,
        cell: Cell,
        reset_after: bool,
        spectra: tuple[Accumulator, Accumulator, Accumulator | None],
        x: Tensor,
        W: Tensor,
        U: Tensor,
        bias: Tensor,
    ) -> Tensor:
        """Run, and keep what the gradient needs."""
        fmt, k = cell.formats.cell, cell.block_size
        of_input, of_state, of_candidate = spectra
        u = cell.input_sums(x, of_input).unflatten(-1, (3, -1))  # (time, k, batch, 3, blocks)
        frames, _, batch, _, blocks = u.shape
        b = cell.bias_codes(bias)
        units = cell.gate_units
        start_rz, start_n = units.start(0), units.start(1)
        one = 2.0**fmt.gate.fraction_length
        exists = cell.existing(cell.hidden_size, x)

        places = x.new_empty(frames, k, batch, 3, blocks)
        h_codes = x.new_empty(frames, k, batch, blocks)
        resets = torch.empty_like(h_codes)  # codes of U h + b, or of r h
        h = torch.zeros_like(h_codes[0])
        for t in range(frames):
            sums = cell.sums(h, of_state).view(k, batch, -1, blocks)
            if reset_after:
                sums = torch.cat(
                    (sums[:, :, :2] + u[t, :, :, :2], u[t, :, :, 2:], sums[:, :, 2:]), 2
                )
                z = cell.preactivation_(sums).add_(b)
                rz, n, recurrent = z[:, :, :2], z[:, :, 2], z[:, :, 3]
            else:
                rz = cell.preactivation_(sums.add_(u[t, :, :, :2])).add_(b[:, :, :2])
            units.places_(saturate_(rz, fmt.preactivation), start_rz)
            r, update = units.values.take(rz.long()).unbind(2)
            if reset_after:
                resets[t] = saturate_(recurrent, fmt.preactivation)
                n += round_(r * recurrent, 0)
            else:
                assert of_candidate is not None
                reset = round_(r * h, 0)
                if exists is not None:
                    reset *= exists
                resets[t] = reset
                n = cell.preactivation_(cell.sums(reset, of_candidate).add_(u[t, :, :, 2]))
                n += b[:, :, 2] + b[:, :, 3]
            units.places_(saturate_(n, fmt.preactivation), start_n)
            candidate = units.values.take(n.long()) * one
            h = update.mul_(h - candidate).add_(candidate).add_(0.5).floor_()
            h = saturate_(h, fmt.gate)
            if exists is not None:
                h *= exists
            places[t, :, :, :2], places[t, :, :, 2], h_codes[t] = rz, n, h

        ctx.cell, ctx.reset_after = cell, reset_after
        y = from_words(h_codes, cell.hidden_size, 1) / one
        ctx.save_for_backward(x, W, U, y, places, resets)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the arguments."""
        dy = gradients[0].clone()
        x, W, U, h, places, resets = ctx.saved_tensors
        cell, fmt, size = ctx.cell, ctx.cell.formats.cell, ctx.cell.hidden_size
        frames, batch = x.shape[:2]
        at = places.long()
        r, u, n = from_words(cell.gate_units.values.take(at), size, 1).unbind(2)
        s_r, s_u, s_n = from_words(cell.gate_units.slopes.take(at), size, 1).unbind(2)
        h_before = pad(h[:-1], (0, 0, 0, 0, 1, 0))
        codes = from_words(resets, size, 1)
        h_to_u, h_to_n = (h_before - n) * s_u, (1 - u) * s_n
        dz = x.new_empty(frames, batch, 3, size)  # of r, z and the input's n
        if ctx.reset_after:
            recurrent = codes * 2.0**-fmt.preactivation.fraction_length
            n_to_r, n_to_state = recurrent * s_r, r * inside(codes, fmt.preactivation)
            dz_state = x.new_empty(frames, batch, 3, size)  # of r, z and the state's n
        else:
            reset_to_r = h_before * s_r
            dz_state = dz
        dh = torch.zeros_like(h[0])
        for t in reversed(range(frames)):
            dy[t] += dh
            torch.mul(dy[t], h_to_u[t], out=dz[t, :, 1])
            torch.mul(dy[t], h_to_n[t], out=dz[t, :, 2])
            dh = dy[t] * u[t]
            if ctx.reset_after:
                torch.mul(dz[t, :, 2], n_to_r[t], out=dz[t, :, 0])
                dz_state[t, :, :2] = dz[t, :, :2]
                torch.mul(dz[t, :, 2], n_to_state[t], out=dz_state[t, :, 2])
                dh += dz_state[t].flatten(1) @ U
            else:
                d_reset = dz[t, :, 2] @ U[2 * size :]
                torch.mul(d_reset, reset_to_r[t], out=dz[t, :, 0])
                dh.addcmul_(d_reset, r[t]).addmm_(dz[t, :, :2].flatten(1), U[: 2 * size])

        of_bias = torch.cat((dz.sum((0, 1)), dz_state[:, :, 2].sum((0, 1))[None]))
        of_x, of_W, of_U = _of_matrices(dz.flatten(2), dz_state.flatten(2), x, h, W)
        if not ctx.reset_after:
            reset = codes * 2.0**-fmt.gate.fraction_length
            of_U[2 * size :] = dz[:, :, 2].flatten(0, 1).T @ reset.flatten(0, 1)
        return None, None, None, of_x, of_W, of_U, of_bias


def _of_matrices(
    dz: Tensor, dz_state: Tensor, x: Tensor, y: Tensor, W: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, W and U from those of their products, (time, batch, rows) each."""
    of_x = dz @ W
    of_W = dz.flatten(0, 1).T @ x.flatten(0, 1)
    of_U = dz_state[1:].flatten(0, 1).T @ y[:-1].flatten(0, 1)
    return of_x, of_W, of_U
