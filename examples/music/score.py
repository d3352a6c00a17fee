"""Composing for `make_songs.py`: from a genre and a random generator to notes."""

from dataclasses import dataclass

import numpy as np

from music.styles import SCALES, STYLES, Style

BORROWING = 0.05  # how often a genre lends a part to a song of another, or an instrument
PARTS = ("drums", "bass", "chords", "lead")
STEPS_PER_BEAT = 4  # patterns are written in sixteenth notes
BASS_TONES = (0, 2, 4, 7)  # steps of the scale above the chord's root
LEAD_TONES = (0, 1, 2, 4, 5, 7, 8, 9)
LOWEST = {"bass": 28, "chords": 52, "lead": 64}  # MIDI pitch of the tonic in the lowest key
FILL = "........x.x.xxxx"  # ends a section

FORMS = (
    "intro verse chorus break chorus",
    "intro verse chorus verse chorus outro",
    "verse chorus verse break chorus",
    "intro verse break verse chorus chorus outro",
)
PLAYING = {  # the parts that may play in a section; a song picks one of each
    "intro": ("chords", "drums", "chords bass", "drums bass", "chords lead"),
    "verse": ("drums bass chords", "drums bass chords", "drums bass lead"),
    "chorus": ("drums bass chords lead",),
    "break": ("chords", "chords lead", "drums", "bass chords"),
    "outro": ("chords", "bass chords", "drums bass chords"),
}
LOUDNESS = {"intro": 0.7, "verse": 0.8, "chorus": 1.0, "break": 0.6, "outro": 0.7}


@dataclass(frozen=True)
class Note:
    step: int  # since the song began
    held: int  # steps
    pitch: int | str  # MIDI number, or a drum
    loudness: float


def lender(style: Style, rng: np.random.Generator) -> Style:
    """The style itself, or now and then another one to borrow from."""
    return STYLES[rng.integers(len(STYLES))] if rng.random() < BORROWING else style


def pick(choices, rng: np.random.Generator):
    """One of the choices as it is, where `rng.choice` would make a NumPy value of it."""
    return choices[rng.integers(len(choices))]


def invent_lead(notes_per_beat: float, steps: int, rng: np.random.Generator) -> str:
    """A pattern of eighths that wanders over neighbouring tones of `LEAD_TONES`."""
    pattern, tone = "", int(rng.integers(2, 6))
    for _ in range(steps // 2):
        if rng.random() < notes_per_beat / 2:
            tone = min(max(tone + int(rng.integers(-2, 3)), 0), len(LEAD_TONES) - 1)
            pattern += f"{tone}-"
        else:
            pattern += pick(("--", ".."), rng)
    return pattern


def chord_pitches(degree: int, tones: tuple[int, ...], scale, lowest: int) -> list[int]:
    """MIDI pitches of the tones, which count scale steps from the chord's root.

    Roots from the fifth degree upwards lie below the tonic, so that chords stay close together.
    """
    root = degree - 1 if degree <= 4 else degree - 8
    octaves_and_steps = [divmod(root + tone, 7) for tone in tones]
    return [lowest + 12 * octave + scale[step] for octave, step in octaves_and_steps]


def read_bar(pattern: str, pitches: list, start: int, steps: int, loudness: float) -> list[Note]:
    """The notes of one bar that starts at step `start`; a pattern of another metre is made fit."""
    pattern = (pattern * 2)[:steps]
    notes = []
    for step, mark in enumerate(pattern):
        if mark in ".-":
            continue
        rest = pattern[step + 1 :]
        held = 1 + len(rest) - len(rest.lstrip("-"))
        chosen = [pitches[int(mark) % len(pitches)]] if mark.isdigit() else pitches
        level = loudness * (0.4 if mark == "o" else 1)
        notes += [Note(start + step, held, pitch, level) for pitch in chosen]
    return notes


def plan_sections(bars: int, rng: np.random.Generator) -> list[tuple[str, list[str], range]]:
    """The song's form: each section's name, the parts that play in it, and its bars."""
    form = pick(FORMS, rng).split()
    playing = {section: pick(choices, rng).split() for section, choices in PLAYING.items()}
    lengths = [2 if section in ("verse", "chorus") else 1 for section in form]
    ends = (np.cumsum([0, *lengths]) * bars / sum(lengths)).round().astype(int).tolist()
    spans = zip(form, ends, ends[1:], strict=False)
    return [(section, playing[section], range(start, end)) for section, start, end in spans]


def compose(style: Style, bars: int, rng: np.random.Generator) -> dict[str, list[Note]]:
    """The notes of each part. A verse and a chorus are invented once and come back."""
    steps = style.beats * STEPS_PER_BEAT
    key, scale = int(rng.integers(12)), SCALES[pick(style.scales, rng)]
    tones = {"bass": BASS_TONES, "chords": pick(style.voicings, rng), "lead": LEAD_TONES}
    drummer, bassist, player = (lender(style, rng) for _ in range(3))
    drums, fill = pick(drummer.drums, rng), pick(("snare", "tom", "clap"), rng)

    def invent():
        return {
            "progression": pick(style.progressions, rng),
            "bass": pick(bassist.bass, rng),
            "chords": pick(player.chords, rng),
            "lead": invent_lead(style.lead, steps, rng),
        }

    verse, chorus = invent(), invent()
    score = {part: [] for part in PARTS}
    for section, playing, span in plan_sections(bars, rng):
        patterns, loudness = chorus if section == "chorus" else verse, LOUDNESS[section]
        if playing == ["drums"] and not drums:
            playing = ["chords"]
        for bar in span:
            where = (bar * steps, steps, loudness)
            if "drums" in playing:
                filled = drums | {fill: FILL} if drums and bar == span.stop - 1 else drums
                for drum, pattern in filled.items():
                    score["drums"] += read_bar(pattern, [drum], *where)
            degree = int(patterns["progression"][(bar - span.start) % 4])
            for part in [part for part in playing if part != "drums"]:
                pitches = chord_pitches(degree, tones[part], scale, LOWEST[part] + key)
                score[part] += read_bar(patterns[part], pitches, *where)
    return score
