"""The five genres of `make_songs.py`, as data."""

from dataclasses import dataclass

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
}
TRIAD, SEVENTH, POWER, OPEN = (0, 2, 4, 7), (0, 2, 4, 6), (0, 4, 7), (0, 4, 8, 9)


@dataclass(frozen=True)
class Style:
    """What makes a genre. Every tuple of patterns or instruments is a choice of equal chances.

    A pattern is a bar of sixteenths: `.` rest, `-` hold, `x` the whole chord, a digit one of its
    tones; for drums `x` is loud and `o` soft. A progression names the chord of each bar by its
    degree in the scale.
    """

    name: str
    tempo: tuple[float, float]  # beats a minute
    beats: int  # in a bar
    swing: float  # largest delay of the second half of a beat, in beats
    pump: float  # largest depth to which the kick ducks bass and chords
    scales: tuple[str, ...]
    progressions: tuple[str, ...]
    voicings: tuple[tuple[int, ...], ...]
    drums: tuple[dict[str, str], ...]
    bass: tuple[str, ...]
    chords: tuple[str, ...]
    lead: float  # notes a beat
    levels: dict[str, float]  # of parts that stand out or stand back, dB
    tilt: tuple[float, float]  # dB an octave
    reverb: tuple[float, float]  # level beside the dry sound
    glue: tuple[float, float]  # how hard the mix is driven into the limiter
    voices: dict[str, tuple[str, ...]]


HOUSE = Style(
    name="house",
    tempo=(112, 128),
    beats=4,
    swing=0.06,
    pump=0.8,
    scales=("minor", "dorian"),
    progressions=("1637", "1111", "1414", "6451"),
    voicings=(TRIAD, SEVENTH, SEVENTH),
    drums=(
        {"kick": "x...x...x...x...", "clap": "....x.......x...", "open hat": "..x...x...x...x."},
        {"kick": "x...x...x...x...", "clap": "....x.......x..o", "hat": "ooxoooxoooxoooxo"},
        {"kick": "x...x...x...x..o", "open hat": "..x...x...x...x.", "shaker": "o.ooo.ooo.ooo.oo"},
    ),
    bass=("..0-..0-..0-..0-", "0..0..0.0..0..3.", "0-....0-..3-2-.."),
    chords=("x---------------", "..x-..x-..x-..x-", "x--x--x---x--x--"),
    lead=0.8,
    levels={"drums": 5, "bass": 2},
    tilt=(-1, 0.5),
    reverb=(0.05, 0.4),
    glue=(1.5, 3),
    voices={
        "bass": ("synth bass", "synth bass", "electric bass"),
        "chords": ("synth", "synth", "synth", "electric piano"),
        "lead": ("synth", "synth", "bell"),
    },
)
WALTZ = Style(
    name="waltz",
    tempo=(96, 160),
    beats=3,
    swing=0.16,
    pump=0.1,
    scales=("major", "minor"),
    progressions=("1451", "1625", "1154", "6251"),
    voicings=(TRIAD, TRIAD, SEVENTH),
    drums=(
        {},
        {"ride": "x...x.o.x.o.", "brush": "....x...x..."},
        {"kick": "o...........", "brush": "....x...x.o."},
    ),
    bass=("0-----------", "0---1---2---", "0-------2---"),
    chords=("....x---x---", "0-1-2-3-2-1-", "x-----x---x-"),
    lead=0.9,
    levels={"drums": -4, "chords": 2},
    tilt=(-1, 0.5),
    reverb=(0.2, 0.7),
    glue=(0.4, 1.2),
    voices={
        "bass": ("double bass", "double bass", "piano"),
        "chords": ("piano", "piano", "piano", "strings"),
        "lead": ("clarinet", "piano", "strings"),
    },
)
BOSSA = Style(
    name="bossa",
    tempo=(100, 136),
    beats=4,
    swing=0.05,
    pump=0.1,
    scales=("major", "dorian", "minor"),
    progressions=("1625", "2511", "1425", "3625"),
    voicings=(SEVENTH, SEVENTH, TRIAD),
    drums=(
        {"rim": "x..x..x...x..x..", "shaker": "xoooxoooxoooxooo", "kick": "x..ox..ox..ox..o"},
        {"rim": "..x..x..x..x..x.", "shaker": "x.ooxooox.ooxooo", "kick": "x.....x.x.....x."},
        {"rim": "x..x..x...x.x...", "shaker": "oooxoooxoooxooox", "tom": "......x.......xx"},
    ),
    bass=("0-----2-2-----0-", "0-----2-0-----2-", "0--.3-..2--.2-.."),
    chords=("x..x--..x-..x-..", "..x-..x--x--..x-", "0.x-..x-2.x-.x--"),
    lead=1.0,
    levels={"drums": -1, "bass": -1},
    tilt=(-0.8, 0.8),
    reverb=(0.05, 0.4),
    glue=(0.5, 1.5),
    voices={
        "bass": ("double bass", "electric bass"),
        "chords": ("nylon guitar", "nylon guitar", "nylon guitar", "electric piano"),
        "lead": ("flute", "flute", "nylon guitar", "clarinet"),
    },
)
AMBIENT = Style(
    name="ambient",
    tempo=(60, 112),
    beats=4,
    swing=0.03,
    pump=0.4,
    scales=("major", "minor", "dorian"),
    progressions=("1111", "1144", "1616", "1415"),
    voicings=(OPEN, OPEN, SEVENTH, TRIAD),
    drums=(
        {},
        {},
        {"kick": "x.......x......."},
        {"shaker": "o.o.o.o.o.o.o.o.", "tom": "x..........o...."},
    ),
    bass=("0---------------", "0-------2-------"),
    chords=("x---------------", "x---------------", "0---1---2---3---", "0-2-1-3-0-2-1-3-"),
    lead=0.3,
    levels={"drums": -12, "chords": 3},
    tilt=(-3, -1),
    reverb=(0.5, 1.3),
    glue=(0.4, 1.5),
    voices={
        "bass": ("pad", "double bass", "synth bass"),
        "chords": ("pad", "pad", "strings", "organ"),
        "lead": ("bell", "bell", "flute", "clean guitar"),
    },
)
ROCK = Style(
    name="rock",
    tempo=(100, 148),
    beats=4,
    swing=0.04,
    pump=0.1,
    scales=("major", "minor", "mixolydian"),
    progressions=("1564", "1415", "6415", "1745"),
    voicings=(POWER, POWER, TRIAD),
    drums=(
        {"kick": "x.......x.x.....", "snare": "....x.......x...", "hat": "x.o.x.o.x.o.x.o."},
        {"kick": "x..x....x.......", "snare": "....x.......x..o", "ride": "x...x...x...x..."},
        {"kick": "x.x...x.x.....x.", "snare": "....x.......x...", "open hat": "x...x...x...x..."},
    ),
    bass=("0-0-0-0-0-0-0-0-", "0--0----0-0-2---", "0---0---0---0-2-"),
    chords=("x-x-x-x-x-x-x-x-", "x---..x-x---x-x-", "x-------x---x---", "0-1-2-1-3-1-2-1-"),
    lead=0.8,
    levels={"drums": 2, "chords": 4},
    tilt=(0, 1.5),
    reverb=(0.1, 0.5),
    glue=(1.5, 3),
    voices={
        "bass": ("electric bass", "electric bass", "synth bass"),
        "chords": ("distorted guitar", "distorted guitar", "distorted guitar", "organ"),
        "lead": ("distorted guitar", "clean guitar", "organ"),
    },
)
STYLES = (HOUSE, WALTZ, BOSSA, AMBIENT, ROCK)
