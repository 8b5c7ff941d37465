"""Colours of the plots for a light and a dark page; Okabe and Ito's, which colour-blind readers can tell apart."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Palette:
    """Colours of one theme, as matplotlib reads them."""

    background: str
    text: str
    grid: str
    model: str
    validation: str
    fault: str
    trivial: dict[str, str]


LIGHT = Palette(
    background="#ffffff",
    text="#333840",
    grid="#dfe3e8",
    model="#0072b2",
    validation="#d55e00",
    fault="#c0392b",
    trivial={"zeros": "#7a7f87", "mixture": "#b8860b", "constant_gain": "#009e73", "constant_mask": "#b0487f"},
)

DARK = Palette(
    background="#1b1f26",
    text="#d5d9e0",
    grid="#363c47",
    model="#56b4e9",
    validation="#f5893d",
    fault="#ff7b6b",
    trivial={"zeros": "#9aa1ac", "mixture": "#f0c93c", "constant_gain": "#2ecc9a", "constant_mask": "#e08fbd"},
)
