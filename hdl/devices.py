"""FPGAs and what they hold, from their vendors' data sheets.

Sources: Xilinx DS890 (UltraScale, Zynq UltraScale+), DS180 (7 series), DS190 (Zynq-7000); Lattice
FPGA-DS-02012 (ECP5).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """What a family's blocks are like.

    Attributes:
        name: of the family.
        vendor: "xilinx" or "lattice".
        multiplier: bits of the two signed factors of a DSP, the longer first.
        accumulates: a DSP adds up its products.
        clock: MHz to design for when nothing else is asked; ECP5's was reached after routing.
    """

    name: str
    vendor: str
    multiplier: tuple[int, int]
    accumulates: bool
    clock: float


SERIES7 = Family("7 series", "xilinx", (25, 18), True, 200.0)
ULTRASCALE = Family("UltraScale", "xilinx", (27, 18), True, 200.0)
ULTRASCALE_PLUS = Family("UltraScale+", "xilinx", (27, 18), True, 300.0)
ECP5 = Family("ECP5", "lattice", (18, 18), False, 90.0)


@dataclass(frozen=True)
class Device:
    """An FPGA.

    Attributes:
        name: as ``--device`` takes it.
        family: its family.
        part: an orderable part, for the vendor's project.
        dsp: DSP blocks (Lattice: 18 x 18 multipliers).
        lut: look-up tables of six inputs (Lattice: of four).
        bram36: block RAMs of 36 kbit (Lattice: pairs of its 18 kbit).
    """

    name: str
    family: Family
    part: str
    dsp: int
    lut: int
    bram36: float


DEVICES = {
    device.name: device
    for device in (
        Device("xcku060", ULTRASCALE, "xcku060-ffva1156-2-e", 2760, 331_680, 1080),
        Device("xcku115", ULTRASCALE, "xcku115-flva1517-2-e", 5520, 663_360, 2160),
        Device("xc7vx690t", SERIES7, "xc7vx690tffg1761-2", 3600, 433_200, 1470),
        Device("xc7a100t", SERIES7, "xc7a100tcsg324-1", 240, 63_400, 135),
        Device("xc7a200t", SERIES7, "xc7a200tfbg676-2", 740, 134_600, 365),
        Device("xc7k325t", SERIES7, "xc7k325tffg900-2", 840, 203_800, 445),
        Device("xc7z020", SERIES7, "xc7z020clg400-1", 220, 53_200, 140),
        Device("xc7z045", SERIES7, "xc7z045ffg900-2", 900, 218_600, 545),
        Device("xc7z100", SERIES7, "xc7z100ffg900-2", 2020, 277_400, 755),
        Device("xczu7ev", ULTRASCALE_PLUS, "xczu7ev-ffvc1156-2-e", 1728, 230_400, 312),
        Device("xczu9eg", ULTRASCALE_PLUS, "xczu9eg-ffvb1156-2-e", 2520, 274_080, 912),
        Device("lfe5u-25f", ECP5, "LFE5U-25F-6BG381C", 28, 24_288, 28),
        Device("lfe5u-45f", ECP5, "LFE5U-45F-6BG381C", 72, 43_848, 54),
        Device("lfe5u-85f", ECP5, "LFE5U-85F-6BG381C", 156, 83_640, 104),
    )
}


def find(name: str) -> Device:
    """The device of that name.

    Raises:
        ValueError: it is unknown; the message lists all.
    """
    if name not in DEVICES:
        raise ValueError(f"device {name!r}: known are {', '.join(DEVICES)}")
    return DEVICES[name]
