"""Compose and render short songs in five genres: a music library to try GenreAST on.

    python examples/make_songs.py data/raw
    python examples/make_songs.py data/raw --seed 7 --songs_per_genre 12 --seconds 30 60

writes `0_house/`, `1_waltz/`, `2_bossa/`, `3_ambient/` and `4_rock/`, as wav, flac, ogg and mp3,
mono and stereo, at two sampling rates, with artist, title and album in the files' tags. Every
artist keeps their instruments and their mix. Genres overlap as real ones do: tempos meet,
instruments are shared, and now and then a song borrows its drums or its bass from another genre.
Nothing is overwritten: the folder must be new or empty, and is there only once it is whole.

The same seed gives the same samples, whatever the number of workers; song 3 of a genre stays the
same when more songs are asked for. Only an ogg's bytes differ, by its stream's random number.
"""

import argparse
import os
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from mutagen import id3, wave
from tqdm import tqdm

from music.score import PARTS, STEPS_PER_BEAT, Note, compose, lender, pick
from music.styles import STYLES, Style
from music.synthesis import DRUMS, VOICES, add, mix, play_note, strike

ARTISTS = 6  # in each genre
SONGS_PER_GENRE = (20, 14, 16, 12, 18)
FORMATS = {"wav": "PCM_16", "flac": "PCM_16", "ogg": "VORBIS", "mp3": "MPEG_LAYER_III"}
RATES = (22050, 32000)

ADJECTIVES = """
    Amber Blue Bright Broken Copper Crooked Distant Early Empty Foreign Gentle Golden Green Hidden
    Hollow Last Little Lonely Lucky Northern Open Paper Patient Quiet Red Restless Salt Silver Slow
    Velvet Wild Winter"""
NOUNS = """
    Avenue Bridge Cinema Circus Coast Compass Engine Ferry Fountain Garden Harbour Hotel Island
    Kitchen Lantern Letter Market Meadow Mirror Mountain Orchard Parade Picture Radio River Season
    Station Summer Telephone Tower Weather Window"""


@dataclass(frozen=True)
class Song:
    """What is settled before a song is composed."""

    genre: int
    number: int  # within the genre
    artist: int  # within the genre
    tags: dict[str, str]  # artist, title, album
    path: str  # below the output folder


@dataclass(frozen=True)
class Sound:
    """What an artist keeps from song to song: the instruments and the mix."""

    voices: dict[str, str]
    pans: dict[str, float]  # -1 left to 1 right
    levels: dict[str, float]  # linear
    tilt: float  # dB an octave
    reverb: float  # level beside the dry sound
    room: float  # seconds
    glue: float  # how hard the mix is driven into the limiter
    hiss: float  # level of the noise floor


@dataclass(frozen=True)
class Clock:
    tempo: float  # beats a minute
    swing: float  # delay of a beat's second half, beats
    rate: int  # samples a second

    @property
    def beat(self) -> float:
        return 60 / self.tempo

    @property
    def step(self) -> float:
        return self.beat / STEPS_PER_BEAT

    def seconds(self, step: int) -> float:
        late = step % STEPS_PER_BEAT >= STEPS_PER_BEAT // 2
        return step * self.step + late * self.swing * self.beat


def make_sound(style: Style, rng: np.random.Generator) -> Sound:
    levels = {part: style.levels.get(part, 0) + rng.normal(-20, 1) for part in PARTS}  # dB
    return Sound(
        voices={part: pick(lender(style, rng).voices[part], rng) for part in PARTS[1:]},
        pans={part: rng.uniform(-0.5, 0.5) for part in PARTS},
        levels={part: 10 ** (level / 20) for part, level in levels.items()},
        tilt=rng.uniform(*style.tilt),
        reverb=rng.uniform(*style.reverb),
        room=rng.uniform(0.3, 2.5),
        glue=rng.uniform(*style.glue),
        hiss=10 ** rng.uniform(-3.8, -3.2),
    )


def perform(notes: list[Note], voice: str | None, clock: Clock, samples: int, rng) -> np.ndarray:
    """One part as sound, `(samples,)`, with the small unevenness of a player's hands."""
    track, sounds = np.zeros(samples), {}
    for note in notes:
        sound = (note.pitch, note.held)
        if sound not in sounds:
            if voice is None:
                sounds[sound] = strike(DRUMS[note.pitch], clock.rate, rng)
            else:
                seconds = 0.95 * note.held * clock.step
                sounds[sound] = play_note(VOICES[voice], note.pitch, seconds, clock.rate)
        start = clock.seconds(note.step) + rng.normal(0, 0.003)
        add(track, sounds[sound] * note.loudness * rng.uniform(0.8, 1), int(start * clock.rate))
    if voice and VOICES[voice].drive:
        track = np.tanh(VOICES[voice].drive * track)
    sounding = track[np.abs(track) > 1e-3]
    return track / np.sqrt(np.mean(sounding**2)) if len(sounding) else track


def duck(beats: np.ndarray, depth: float) -> np.ndarray:
    """The gain that a compressor keyed by a kick on every beat would give."""
    return 1 - depth * np.exp(-4 * (beats % 1))


def render(style: Style, sound: Sound, seconds: float, rate: int, channels: int, rng) -> np.ndarray:
    """A whole song, `(samples, channels)`."""
    samples = int(seconds * rate)
    clock = Clock(rng.uniform(*style.tempo), rng.uniform(0, style.swing), rate)
    bars = int(np.ceil(seconds / (style.beats * clock.beat)))
    score = compose(style, bars, rng)
    time = np.arange(samples) / rate
    pumping = duck(time / clock.beat, rng.uniform(0, style.pump))
    tracks = []
    for part in PARTS:
        track = perform(score[part], sound.voices.get(part), clock, samples, rng)
        tracks.append(track * sound.levels[part] * (pumping if part in ("bass", "chords") else 1))
    pans = [sound.pans[part] for part in PARTS]
    song = mix(tracks, pans, channels, rate, sound.tilt, sound.reverb, sound.room, rng)
    song = np.tanh(sound.glue * song / np.sqrt(np.mean(song**2)) / 4)
    song += sound.hiss * rng.standard_normal(song.shape)
    song *= np.clip(np.minimum(time / 0.01, (seconds - time) / (0.05 * seconds)), 0, 1)[:, None]
    # Lossy codecs at these rates overshoot a peak by up to 6 dB.
    return song * 10 ** (-rng.uniform(7, 12) / 20) / np.max(np.abs(song))


def plan_songs(songs_per_genre: list[int], seed: int) -> list[Song]:
    """Names, artists and formats of all songs."""
    names = [f"{adjective} {noun}" for adjective in ADJECTIVES.split() for noun in NOUNS.split()]
    np.random.default_rng(seed).shuffle(names)
    artists, titles = names[: ARTISTS * len(STYLES)], names[ARTISTS * len(STYLES) :]
    songs = []
    for genre, (style, count) in enumerate(zip(STYLES, songs_per_genre, strict=True)):
        for number in range(count):
            again, place = divmod(number * len(STYLES) + genre, len(titles))
            title = f"{titles[place]} {again + 1}" if again else titles[place]
            artist = artists[genre * ARTISTS + number % ARTISTS]
            album = f"{artist} {'I' * (1 + number // ARTISTS % 2)}"
            extension = list(FORMATS)[(genre + number) % len(FORMATS)]
            path = f"{genre}_{style.name}/{artist} - {title}.{extension}"
            tags = {"artist": artist, "title": title, "album": album}
            songs.append(Song(genre, number, number % ARTISTS, tags, path))
    return songs


def write_song(song: Song, folder: Path, seconds: tuple[float, float], seed: int) -> None:
    """Make the song from its own seeds, so that it depends on no other song."""
    style = STYLES[song.genre]
    sound = make_sound(style, np.random.default_rng((seed, 0, song.genre, song.artist)))
    rng = np.random.default_rng((seed, 1, song.genre, song.number))
    length, rate, channels = rng.uniform(*seconds), pick(RATES, rng), pick((1, 2), rng)
    samples = render(style, sound, length, rate, channels, rng)
    path = folder / song.path
    extension = path.suffix[1:]
    subtype = FORMATS[extension]
    with soundfile.SoundFile(path, "w", rate, channels, subtype, format=extension) as file:
        for tag, value in song.tags.items():
            setattr(file, tag, value)
        file.write(samples)
    if extension == "wav":  # RIFF tags, written above, are not what mutagen reads
        tagged = wave.WAVE(path)
        tagged.add_tags()
        for frame, tag in ((id3.TPE1, "artist"), (id3.TIT2, "title"), (id3.TALB, "album")):
            tagged.tags.add(frame(text=song.tags[tag]))
        tagged.save()


def write_library(
    output_dir: Path, songs_per_genre: list[int], seconds: list[float], seed: int, workers: int
) -> None:
    """Write all songs aside, then give the folder its name: it is whole or not there."""
    songs = plan_songs(songs_per_genre, seed)
    aside = output_dir.with_name(f".{output_dir.name}.{os.getpid()}.part")
    try:
        for song in songs:
            (aside / song.path).parent.mkdir(parents=True, exist_ok=True)
        write = partial(write_song, folder=aside, seconds=seconds, seed=seed)
        with ProcessPoolExecutor(workers) as pool:
            try:
                for _ in tqdm(pool.map(write, songs), "Composing", len(songs), unit="song"):
                    pass
            except BaseException:  # Ctrl-C too: do not compose what nobody will hear
                pool.shutdown(cancel_futures=True)
                raise
        os.replace(aside, output_dir)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Compose and render short songs in five genres.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    flag = parser.add_argument
    flag("output_dir", type=Path, help="a folder that is new or empty")
    flag("--seed", type=int, default=0, help="another seed, other songs")
    flag(
        "--songs_per_genre",
        "--songs-per-genre",
        type=int,
        nargs="+",
        default=SONGS_PER_GENRE,
        metavar="N",
        help=f"one number, or one for each of {', '.join(style.name for style in STYLES)}",
    )
    flag(
        "--seconds",
        type=float,
        nargs=2,
        default=(30, 60),
        metavar=("FROM", "TO"),
        help="length of a song, drawn evenly between the two",
    )
    flag(
        "--num_workers",
        "--num-workers",
        type=int,
        default=os.cpu_count(),
        help="processes",
        metavar="N",
    )
    arguments = parser.parse_args()

    if len(arguments.songs_per_genre) == 1:
        arguments.songs_per_genre *= len(STYLES)
    arguments.output_dir = arguments.output_dir.resolve()
    faults = find_faults(arguments)
    if faults:
        parser.exit(2, f"error: {'; '.join(faults)}\n")
    return arguments


def find_faults(arguments: argparse.Namespace) -> list[str]:
    faults = []
    counts, (shortest, longest) = arguments.songs_per_genre, arguments.seconds
    if len(counts) != len(STYLES) or min(counts) < 1:
        faults.append(f"--songs_per_genre is {counts}: give one number or five, each 1 or more")
    if not 1 <= shortest <= longest <= 3600:
        faults.append(f"--seconds is {shortest:g} {longest:g}: give the shorter first, 1 to 3600")
    if arguments.seed < 0:
        faults.append(f"--seed is {arguments.seed}: give 0 or more")
    if arguments.num_workers < 1:
        faults.append(f"--num_workers is {arguments.num_workers}: give 1 or more")
    folder = arguments.output_dir
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        faults.append(f"{folder} is there already: name a folder that is new or empty")
    return faults


def main() -> int:
    arguments = parse_arguments()
    counts = arguments.songs_per_genre
    try:
        write_library(
            arguments.output_dir,
            counts,
            arguments.seconds,
            arguments.seed,
            arguments.num_workers,
        )
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 130
    except (OSError, soundfile.LibsndfileError) as error:
        print(f"error: {arguments.output_dir} could not be written: {error}", file=sys.stderr)
        return 2
    genres = ", ".join(f"{n} {style.name}" for n, style in zip(counts, STYLES, strict=True))
    print(f"{sum(counts)} songs in {arguments.output_dir}: {genres}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
