"""Groove families: which pieces of the kit play on which steps, and which bass figures suit them.

In a pattern each character is one step: `X` accent, `x` stroke, `o` ghost stroke, `-` rest.
Families of validation and test songs are not used in training.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class GrooveFamily:
    """One style of drumming.

    Args:
        name: its name.
        tempo: slowest and fastest beats per minute.
        kick: patterns of the bass drum, one is drawn per section type.
        snare: patterns of the backbeat.
        cymbal: (piece, pattern) pairs for the time keeping.
        colour: (piece, pattern) pairs of hand percussion, drawn now and then.
        bass: names of bass figures, see `bass_figures.py`.
        backbeat: piece that plays the snare pattern.
        beats: beats in a bar, default 4.
        steps_per_beat: 4 for straight, 3 for triplet grooves; default 4.
        swing: largest delay of every second step, as a share of a step.
    """

    name: str
    tempo: tuple[int, int]
    kick: tuple[str, ...]
    snare: tuple[str, ...]
    cymbal: tuple[tuple[str, str], ...]
    colour: tuple[tuple[str, str], ...]
    bass: tuple[str, ...]
    backbeat: str = "snare"
    beats: int = 4
    steps_per_beat: int = 4
    swing: float = 0.1


_EIGHTHS = ("closed_hat", "X-x-X-x-X-x-X-x-")
_SIXTEENTHS = ("closed_hat", "XoxoXoxoXoxoXoxo")
_RIDE = ("ride", "X-x-X-x-X-x-X-x-")
_QUARTERS = ("closed_hat", "X---X---X---X---")
_SHAKER = ("shaker", "xoXoxoXoxoXoxoXo")
_TAMBOURINE = ("tambourine", "----X-------X---")
_BACKBEAT = "----X-------X---"

_TRAIN = (
    GrooveFamily(
        "rock",
        (96, 150),
        ("X-------X-------", "X-----x-X-------", "X-x-----X-x-----"),
        (_BACKBEAT, "----X--o-o--X---"),
        (_EIGHTHS, _RIDE, ("open_hat", "X---X---X---X---")),
        (_TAMBOURINE,),
        ("eighths", "root_fifth", "kick"),
        swing=0.0,
    ),
    GrooveFamily(
        "pop",
        (88, 128),
        ("X-------X-x-----", "X-----x---x-----", "X--x----X-------"),
        (_BACKBEAT, "----X-------X--o"),
        (_EIGHTHS, _SIXTEENTHS),
        (_SHAKER, _TAMBOURINE, ("clap", _BACKBEAT)),
        ("kick", "whole", "eighths", "syncopated"),
    ),
    GrooveFamily(
        "house",
        (116, 130),
        ("X---X---X---X---",),
        (_BACKBEAT, "----X-------X-x-"),
        (("open_hat", "--X---X---X---X-"), ("closed_hat", "xoXoxoXoxoXoxoXo")),
        (("clap", _BACKBEAT), _SHAKER, ("high_conga", "--x--x----x--x--")),
        ("offbeat", "octaves", "syncopated"),
        "clap",
    ),
    GrooveFamily(
        "funk",
        (90, 116),
        ("X--x--x---x--x--", "X-x---x---x-----", "X-----xx--x--x--"),
        ("----X--o-o-oX--o", "----X--o-o--X-o-"),
        (_SIXTEENTHS, ("closed_hat", "X-xxX-xxX-xxX-xx")),
        (("cowbell", "X---X---X---X---"), ("low_conga", "---x--x----x--x-")),
        ("funk", "kick", "slap"),
        swing=0.18,
    ),
    GrooveFamily(
        "hip hop",
        (78, 100),
        ("X--x------x--x--", "X-----x---x-----", "X-x-------xx----"),
        (_BACKBEAT, "----X--o----X---"),
        (_EIGHTHS, ("closed_hat", "X-xoX-x-X-xoX-xx")),
        (("clap", _BACKBEAT),),
        ("kick", "sustained", "syncopated"),
        swing=0.25,
    ),
    GrooveFamily(
        "trap",
        (65, 82),
        ("X-----x---x-----", "X--x---x--x---x-"),
        ("--------X-------",),
        (("closed_hat", "XoxoXoxoXxxxXoxo"), ("closed_hat", "X-x-XxxoX-x-Xoxx")),
        (("open_hat", "------x-------x-"),),
        ("sustained", "kick"),
        "clap",
        swing=0.05,
    ),
    GrooveFamily(
        "ballad",
        (65, 84),
        ("X---------x-----", "X------xX-------"),
        (_BACKBEAT, "--------X-------"),
        (_EIGHTHS, _QUARTERS, _RIDE),
        (_SHAKER,),
        ("whole", "root_fifth"),
        swing=0.05,
    ),
    GrooveFamily(
        "side stick ballad",
        (66, 92),
        ("X-----x---x-----", "X-------X-------"),
        (_BACKBEAT,),
        (_EIGHTHS, _SIXTEENTHS),
        (_SHAKER,),
        ("whole", "root_fifth", "sustained"),
        "side_stick",
    ),
    GrooveFamily(
        "punk",
        (150, 170),
        ("X--X--X-X--X--X-", "X---X---X---X---"),
        ("--X---X---X---X-", _BACKBEAT),
        (("open_hat", "X-x-X-x-X-x-X-x-"), _RIDE, ("crash", "X---X---X---X---")),
        (),
        ("eighths", "sixteenths"),
        swing=0.0,
    ),
    GrooveFamily(
        "bossa nova",
        (110, 150),
        ("X-----x-X-----x-",),
        ("X--X--X---X--X--",),
        (_EIGHTHS,),
        (_SHAKER,),
        ("bossa", "root_fifth"),
        "side_stick",
        swing=0.05,
    ),
    GrooveFamily(
        "son",
        (92, 125),
        ("X-----x---x-----",),
        ("---o---o---o---o",),
        (("timbale_shell", "X-X-xXxX-XxX-XxX"), ("cowbell", "X-x-X-x-X-x-X-x-")),
        (("claves", "--X-X---X--X--X-"), ("low_conga", "--xx--x---xx--xx"), ("high_conga", "x-----x-x-----x-")),
        ("tumbao",),
        "side_stick",
    ),
    GrooveFamily(
        "afrobeat",
        (98, 125),
        ("X-----x-x--x----", "X--x--X---x-X---"),
        ("----X--o-x--o--x",),
        (_SIXTEENTHS,),
        (_SHAKER, ("high_conga", "x--x--x-x-xx-x--"), ("cowbell", "X--X--X---X-X---")),
        ("funk", "syncopated"),
    ),
    GrooveFamily(
        "breakbeat",
        (95, 140),
        ("X-X-------XX----", "X--x------x--x--"),
        ("----X--o-o--X--o", "----X--x-o-xX--o"),
        (_EIGHTHS, _RIDE),
        (_TAMBOURINE,),
        ("kick", "syncopated", "funk"),
    ),
    GrooveFamily(
        "country",
        (100, 160),
        ("X-------X-------",),
        ("o-o-X-o-o-o-X-o-", "--x---x---x---x-"),
        (_QUARTERS, _EIGHTHS),
        (_TAMBOURINE,),
        ("root_fifth", "walking"),
    ),
    GrooveFamily(
        "blues shuffle",
        (84, 130),
        ("X-----X-----", "X--x--X--x--"),
        ("---X-----X--", "---X--o--X-o"),
        (("closed_hat", "X-xX-xX-xX-x"), ("ride", "X-xX-xX-xX-x")),
        (_TAMBOURINE[:1] + ("---X-----X--",),),
        ("shuffle", "walking"),
        steps_per_beat=3,
    ),
    GrooveFamily(
        "slow twelve eight",
        (65, 80),
        ("X-----X----x", "X----xX-----"),
        ("---X-----X--",),
        (("closed_hat", "XxxXxxXxxXxx"), ("ride", "XxxXxxXxxXxx")),
        (),
        ("whole", "shuffle"),
        steps_per_beat=3,
    ),
    GrooveFamily(
        "waltz",
        (96, 150),
        ("X-----------", "X---------x-"),
        ("----X---X---", "----x---x-o-"),
        (("closed_hat", "X-x-X-x-X-x-"), ("ride", "X---x---x---")),
        (),
        ("whole", "root_fifth"),
        beats=3,
    ),
)

_VALIDATION = (
    GrooveFamily(
        "reggaeton",
        (85, 102),
        ("X---X---X---X---",),
        ("---x--x----x--x-",),
        (_EIGHTHS, ("closed_hat", "--X---X---X---X-")),
        (_SHAKER,),
        ("kick", "tumbao", "sustained"),
    ),
    GrooveFamily(
        "soul",
        (96, 136),
        ("X-x---x-X-x---x-", "X-----x-X-----x-"),
        ("X---X---X---X---", "----X-------X-o-"),
        (_EIGHTHS, _RIDE),
        (("tambourine", "--x-X-x---x-X-x-"),),
        ("syncopated", "walking", "kick"),
    ),
    GrooveFamily(
        "train beat",
        (100, 140),
        ("X---x---X---x---",),
        ("o-ooX-ooo-ooX-oo",),
        (_QUARTERS,),
        (),
        ("root_fifth", "eighths"),
    ),
    GrooveFamily(
        "new wave",
        (120, 160),
        ("X-------X-X-----", "X---X---X---X---"),
        (_BACKBEAT,),
        (_SIXTEENTHS, _EIGHTHS),
        (("clap", _BACKBEAT),),
        ("sixteenths", "eighths", "octaves"),
        swing=0.0,
    ),
)

_TEST = (
    GrooveFamily(
        "disco",
        (108, 128),
        ("X---X---X---X---", "X---X---X---X-x-"),
        (_BACKBEAT, "----X--o----X---"),
        (("open_hat", "--X---X---X---X-"), ("closed_hat", "X-xxX-xxX-xxX-xx")),
        (_TAMBOURINE, ("high_conga", "x-x--x-xx-x--x-x")),
        ("octaves", "syncopated"),
        swing=0.0,
    ),
    GrooveFamily(
        "half time",
        (126, 160),
        ("X-----x---------", "X--x--x------x--"),
        ("--------X-------",),
        (_EIGHTHS, _QUARTERS, _RIDE),
        (_SHAKER,),
        ("whole", "kick", "eighths"),
    ),
    GrooveFamily(
        "one drop",
        (70, 90),
        ("--------X-------", "X-------X-------"),
        ("--------X-------",),
        (("closed_hat", "X-xoX-x-X-xoX-x-"),),
        (_SHAKER,),
        ("reggae",),
        "side_stick",
        swing=0.2,
    ),
    GrooveFamily(
        "samba",
        (92, 112),
        ("X--xX--xX--xX--x",),
        ("x--x-x-xx-x-x--x",),
        (_SIXTEENTHS,),
        (("agogo", "x-x-xx-x-x-xx-x-"), _SHAKER),
        ("bossa", "tumbao"),
    ),
    GrooveFamily(
        "indie",
        (108, 140),
        ("X--x--x-X--x----", "X-x---x-X-x-----"),
        (_BACKBEAT, "----X--o----X--o"),
        (_EIGHTHS, _SIXTEENTHS, ("open_hat", "X-x-X-x-X-x-X-x-")),
        (_TAMBOURINE,),
        ("eighths", "kick", "root_fifth"),
        swing=0.04,
    ),
    GrooveFamily(
        "swing",
        (110, 160),
        ("X-----x-----", "x--x--x--x--"),
        ("---x-----x--", "--o--o---o-x"),
        (("ride", "X--X-xX--X-x"),),
        (),
        ("walking",),
        steps_per_beat=3,
    ),
)

GROOVES: dict[str, tuple[GrooveFamily, ...]] = {"train": _TRAIN, "validation": _VALIDATION, "test": _TEST}
