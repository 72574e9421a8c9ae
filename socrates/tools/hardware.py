"""Named machines, for estimates: what their makers publish, and what an hour of one costs.

Memory, peak rate and power are those of NVIDIA's data sheets (dense matrix products in bfloat16, or
float16 where there is no bfloat16). Prices are assumptions, of the order that rental offers had; say
what you pay with ``run.usd_per_hour``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hardware:
    """One accelerator, or the machine itself.

    Attributes:
        name: to ask for it by.
        marks: parts of a device's own name that all must be there, lower case.
        memory: GiB that a program can use.
        peak: 10^12 floating point operations per second.
        watts: of the board.
        usd_per_hour: assumed.
        bfloat16: whether it computes in bfloat16.
    """

    name: str
    marks: tuple[str, ...]
    memory: float
    peak: float
    watts: float
    usd_per_hour: float
    bfloat16: bool = True


CPU_WATTS_PER_CORE = 10.0  # assumed: a server's package divided by its cores, busy
A100_80 = Hardware("A100-80", ("a100", "80gb"), 79.1, 312.0, 400.0, 1.8)
MACHINES = (
    Hardware("A100-40", ("a100",), 39.4, 312.0, 400.0, 1.3),
    A100_80,
    Hardware("H100", ("h100",), 79.1, 989.0, 700.0, 3.0),
    Hardware("L4", ("l4",), 22.0, 121.0, 72.0, 0.8),
    Hardware("T4", ("t4",), 14.6, 65.0, 70.0, 0.35, bfloat16=False),
)


def recognise(device: str) -> Hardware | None:
    """The machine that a device's own name tells of (``NVIDIA A100-SXM4-80GB``); None where it is not known."""
    words = device.lower().replace("-", " ").split()
    fits = [known for known in MACHINES if all(any(mark == word for word in words) for mark in known.marks)]
    return max(fits, key=lambda known: len(known.marks), default=None)
