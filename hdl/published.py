"""What FPGA designs reached for one LSTM or GRU layer of 1024 cells, as published, at 200 MHz."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Published:
    """A published design.

    Attributes:
        design: its short name, with the year where there is no paper of that name in the README.
        board: FPGA or board.
        ratio: of the compression.
        bits: of a weight.
        latency_us: of a frame.
        frames_per_s: frames a second.
        certainty: "read" in the paper, "arith" recalled and reproducing a headline that was read by
            arithmetic, or "recalled": for orientation only.
    """

    design: str
    board: str
    ratio: str
    bits: str
    latency_us: str
    frames_per_s: str
    certainty: str


PUBLISHED = (
    Published("ESE", "KU060", "4.5", "12", "57.0", "17,544", "arith"),
    Published("C-LSTM FFT8", "7V3", "7.9", "16", "16.7", "179,687", "recalled"),
    Published("C-LSTM FFT16", "7V3", "15.9", "16", "9.1", "330,275", "arith"),
    Published("E-RNN LSTM FFT8", "both", "7.9", "12", "12.9-13.7", "231-240k", "recalled"),
    Published("E-RNN LSTM FFT16", "KU060", "15.9", "12", "7.4", "429,327", "recalled"),
    Published("E-RNN GRU FFT8", "both", "8.0", "12", "10.5", "284,500", "recalled"),
    Published("E-RNN GRU FFT16", "-", "15.9", "12", "6.5-6.7", "445-465k", "recalled"),
    Published("Spartus (2022)", "Zynq-7100", "delta-sparse", "-", "1.0", "-", "read"),
    Published("CSB-RNN (2020)", "-", "3.5-25", "-", "0.79-6.58", "-", "read"),
)

NOTE = (
    "C-LSTM's frames a second times its latency is 3.0: that throughput interleaves three "
    "utterances. One stream gets 1 / latency."
)


def rows() -> list[dict[str, Any]]:
    """All designs as plain values."""
    return [asdict(row) for row in PUBLISHED]


def to_markdown() -> str:
    """All designs as a table, with the note on what they mean."""
    lines = [
        "| design | board | ratio | bits | latency us | frames/s | how sure |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += ["| " + " | ".join(row.values()) + " |" for row in rows()]
    return "\n".join(lines) + f"\n\n{NOTE}\n"
