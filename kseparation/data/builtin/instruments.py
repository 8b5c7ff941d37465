"""The sounds of each split: General MIDI programs, drum kits and our own synthesiser's patches.

Every program, kit and patch belongs to one split. Programs that play the same recordings of the soundfont `TimGM6mb`
are in the same split, so that a test song holds no melodic recording that training has heard. Drums cannot be parted
so strictly: all kits of the font share hi-hats and most cymbals and toms, and its acoustic kits share the bass drum;
snares differ between the splits.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Program:
    """A General MIDI sound. `number` is the program from 0, `centre` the register it sounds good in."""

    number: int
    name: str
    centre: int = 60

    @property
    def label(self) -> str:
        """The name that `song.json` shows."""
        return f"gm {self.number} {self.name}"


@dataclass(frozen=True)
class Patch:
    """A sound of our own synthesiser; `family` names the synthesis, see `synthesiser.py`."""

    family: str
    centre: int = 60

    @property
    def label(self) -> str:
        """The name that `song.json` shows."""
        return f"patch {self.family}"


@dataclass(frozen=True)
class FontKit:
    """A drum kit of the soundfont; `keys` maps pieces to MIDI keys where they differ from `DRUM_KEYS`."""

    program: int
    name: str
    keys: tuple[tuple[str, int], ...] = ()

    @property
    def label(self) -> str:
        """The name that `song.json` shows."""
        return f"kit {self.program} {self.name}"


@dataclass(frozen=True)
class SynthKit:
    """A drum kit of our own synthesiser; `name` is a row of `drum_synthesiser.KITS`."""

    name: str

    @property
    def label(self) -> str:
        """The name that `song.json` shows."""
        return f"patch kit {self.name}"


Sound = Program | Patch
Kit = FontKit | SynthKit

DRUM_KEYS: dict[str, int] = {
    "kick": 36,
    "snare": 38,
    "side_stick": 37,
    "clap": 39,
    "closed_hat": 42,
    "pedal_hat": 44,
    "open_hat": 46,
    "crash": 49,
    "ride": 51,
    "high_tom": 48,
    "middle_tom": 45,
    "low_tom": 41,
    "tambourine": 54,
    "cowbell": 56,
    "shaker": 70,
    "high_conga": 63,
    "low_conga": 64,
    "timbale_shell": 65,
    "claves": 75,
    "agogo": 67,
}
_SECOND_KIT = (
    ("kick", 35),
    ("snare", 40),
    ("crash", 57),
    ("ride", 59),
    ("high_tom", 50),
    ("middle_tom", 47),
    ("low_tom", 43),
)

KITS: dict[str, tuple[Kit, ...]] = {
    "train": (
        FontKit(0, "standard"),
        SynthKit("analogue"),
        FontKit(16, "power"),
        SynthKit("dusty"),
        FontKit(8, "room"),
        SynthKit("tight"),
        FontKit(48, "orchestra", (("crash", 57), ("ride", 59))),
        SynthKit("big"),
    ),
    "validation": (FontKit(40, "brush", _SECOND_KIT[2:4]), SynthKit("wooden")),
    "test": (
        FontKit(25, "tr-808", _SECOND_KIT[2:4]),
        FontKit(24, "electronic"),
        FontKit(0, "standard, second set", _SECOND_KIT),
        SynthKit("crisp"),
    ),
}

BASSES: dict[str, tuple[Sound, ...]] = {
    "train": (
        Program(33, "fingered bass", 34),
        Program(35, "fretless bass", 35),
        Program(36, "slap bass 1", 35),
        Program(38, "synth bass 1", 34),
        Program(39, "synth bass 2", 34),
        Patch("saw bass", 34),
        Patch("sub bass", 33),
        Patch("plucked bass", 34),
    ),
    "validation": (Program(37, "slap bass 2", 35), Patch("fm bass", 34)),
    "test": (Program(34, "picked bass", 34), Program(32, "acoustic bass", 34), Patch("square bass", 34)),
}

# Role -> sounds; the roles are those of `accompaniment.py`.
OTHERS: dict[str, dict[str, tuple[Sound, ...]]] = {
    "train": {
        "pad": (
            Program(44, "tremolo strings", 62),
            Program(48, "strings", 62),
            Program(49, "slow strings", 62),
            Program(51, "synth strings 2", 60),
            Program(89, "warm pad", 58),
            Program(90, "poly synth", 60),
            Program(95, "sweep pad", 58),
            Program(17, "organ 2", 60),
            Program(18, "organ 3", 58),
            Program(62, "synth brass 1", 58),
            Patch("saw pad", 60),
        ),
        "comp": (
            Program(0, "piano 1", 60),
            Program(1, "piano 2", 60),
            Program(2, "piano 3", 60),
            Program(3, "honky tonk", 62),
            Program(4, "electric piano 1", 58),
            Program(7, "clavinet", 58),
            Program(27, "clean guitar", 57),
            Program(28, "muted guitar", 55),
            Program(17, "organ 2", 62),
            Program(107, "koto", 62),
            Patch("fm piano", 58),
            Patch("plucked strings", 57),
        ),
        "arpeggio": (
            Program(0, "piano 1", 66),
            Program(27, "clean guitar", 60),
            Program(46, "harp", 65),
            Program(45, "pizzicato", 64),
            Program(9, "glockenspiel", 79),
            Program(10, "music box", 74),
            Program(81, "saw lead", 62),
            Program(88, "fantasia", 64),
            Program(114, "steel drum", 67),
            Patch("bell", 70),
            Patch("plucked strings", 62),
        ),
        "riff": (
            Program(29, "overdriven guitar", 53),
            Program(30, "distorted guitar", 50),
            Program(81, "saw lead", 64),
            Program(104, "sitar", 58),
            Program(67, "baritone sax", 50),
            Program(87, "bass and lead", 55),
            Patch("saw lead", 62),
        ),
        "power": (
            Program(29, "overdriven guitar", 45),
            Program(30, "distorted guitar", 45),
            Program(84, "charang", 48),
        ),
        "stabs": (
            Program(61, "brass", 62),
            Program(62, "synth brass 1", 60),
            Program(63, "synth brass 2", 60),
            Program(56, "trumpet", 66),
        ),
        "counter": (
            Program(56, "trumpet", 70),
            Program(64, "soprano sax", 72),
            Program(67, "baritone sax", 55),
            Program(42, "cello", 55),
            Program(74, "recorder", 76),
            Program(75, "pan flute", 74),
            Program(81, "saw lead", 70),
            Patch("saw lead", 70),
        ),
    },
    "validation": {
        "pad": (Program(21, "accordion", 60), Program(20, "reed organ", 58), Patch("organ", 60)),
        "comp": (Program(6, "harpsichord", 60), Program(12, "marimba", 60), Patch("organ", 60)),
        "arpeggio": (Program(12, "marimba", 64), Program(96, "ice rain", 66), Program(13, "xylophone", 72)),
        "riff": (Program(65, "alto sax", 64), Program(22, "harmonica", 66), Patch("fm lead", 62)),
        "power": (Program(6, "harpsichord", 52), Program(23, "bandoneon", 55)),
        "stabs": (Program(65, "alto sax", 62), Program(21, "accordion", 64)),
        "counter": (Program(40, "violin", 74), Program(65, "alto sax", 66), Program(68, "oboe", 72)),
    },
    "test": {
        "pad": (
            Program(50, "synth strings 1", 60),
            Program(16, "organ 1", 60),
            Program(19, "church organ", 57),
            Patch("square pad", 60),
        ),
        "comp": (
            Program(5, "electric piano 2", 59),
            Program(24, "nylon guitar", 57),
            Program(25, "steel guitar", 58),
            Program(26, "jazz guitar", 57),
            Program(16, "organ 1", 62),
        ),
        "arpeggio": (
            Program(24, "nylon guitar", 61),
            Program(25, "steel guitar", 62),
            Program(11, "vibraphone", 66),
            Program(108, "kalimba", 68),
            Program(5, "electric piano 2", 66),
        ),
        "riff": (
            Program(66, "tenor sax", 58),
            Program(26, "jazz guitar", 60),
            Program(80, "square lead", 62),
            Patch("square lead", 62),
        ),
        "power": (Program(26, "jazz guitar", 47), Program(105, "banjo", 55)),
        "stabs": (Program(57, "trombone", 57), Program(60, "french horns", 58), Program(59, "muted trumpet", 66)),
        "counter": (
            Program(73, "flute", 76),
            Program(71, "clarinet", 68),
            Program(66, "tenor sax", 62),
            Program(80, "square lead", 70),
        ),
    },
}

# What plays where the synthesiser is the only renderer: the patches above and these, which fill the roles that have
# none.
_PATCH_ROLES: dict[str, dict[str, str]] = {
    "train": {
        "pad": "saw pad",
        "comp": "plucked strings",
        "arpeggio": "bell",
        "riff": "saw lead",
        "power": "plucked strings",
        "stabs": "saw lead",
        "counter": "saw lead",
    },
    "validation": {
        "pad": "organ",
        "comp": "organ",
        "arpeggio": "organ",
        "riff": "fm lead",
        "power": "organ",
        "stabs": "fm lead",
        "counter": "fm lead",
    },
    "test": {
        "pad": "square pad",
        "comp": "square pad",
        "arpeggio": "square lead",
        "riff": "square lead",
        "power": "square pad",
        "stabs": "square lead",
        "counter": "square lead",
    },
}


def kits(split: str, synthetic: bool) -> list[Kit]:
    """Returns the drum kits of a split; `synthetic` leaves out those that need the soundfont."""
    return [kit for kit in KITS[split] if not synthetic or isinstance(kit, SynthKit)]


def basses(split: str, synthetic: bool) -> list[Sound]:
    """Returns the bass sounds of a split."""
    return [sound for sound in BASSES[split] if not synthetic or isinstance(sound, Patch)]


def others(split: str, role: str, synthetic: bool) -> list[Sound]:
    """Returns the sounds of a split for a role of the accompaniment."""
    sounds = [sound for sound in OTHERS[split][role] if not synthetic or isinstance(sound, Patch)]
    return sounds or [Patch(_PATCH_ROLES[split][role])]
