"""Songs → windows, read ahead of the model.

A few threads decode the next songs while the model works on this one. Where few windows of a song
are heard, only they are decoded. A long mix is never held whole: its windows are cut from the
stream.
"""

import contextlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genreast.audio import (
    FRAME_LENGTH,
    NOT_OPENED,
    SAMPLING_RATE,
    AudioError,
    is_long,
    load_audio,
    spread_evenly,
    stream_audio,
    window_starts,
)
from genreast.inference.excerpts import DecodeWhole, read_excerpts

Source = str | Path | bytes


@dataclass
class Cut:
    """How songs are cut: the window and the hop in samples, and the most windows a song."""

    window: int
    hop: int | None = None
    max_windows: int | None = None

    def starts(self, samples: int) -> list[int]:
        """First samples of the windows, spread evenly over the song when they are limited."""
        return spread_evenly(window_starts(samples, self.window, self.hop), self.max_windows)


@dataclass
class SongAudio:
    """An opened song: its length in samples, where its windows start, and the windows."""

    samples: int
    starts: list[int]
    windows: Iterator[np.ndarray]
    streamed: bool = False


def read_songs(
    songs: Iterable[Source], cut: Cut, threads: int = 2
) -> Iterator[tuple[str, SongAudio | AudioError]]:
    """Open songs in their order, decoded ahead by `threads` threads; an error stands in its place.

    A song is a file or a file's bytes; raises TypeError for anything else. At most `threads` + 1
    decoded songs, of 77 MB or less each, wait for the model. The windows of one song must be
    consumed before the next is asked for.
    """
    waiting: deque[tuple[str, Future]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        try:
            for song in songs:
                waiting.append((_name(song), pool.submit(open_song, song, cut)))
                if len(waiting) > threads + 1:
                    yield _opened(pool, *waiting.popleft())
            while waiting:
                yield _opened(pool, *waiting.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _name(song: Source) -> str:
    if not isinstance(song, Source):
        raise TypeError(
            f"a song is a file's name or a file's bytes, not {type(song).__name__}; samples are "
            "written to a file first, as with soundfile.write"
        )
    return "bytes" if isinstance(song, bytes) else str(song)


def _opened(
    pool: ThreadPoolExecutor, name: str, future: Future
) -> tuple[str, SongAudio | AudioError]:
    try:
        song = future.result()
    except AudioError as error:
        return name, error
    if song.streamed:
        song.windows = _one_ahead(pool, song.windows)
    return name, song


def _one_ahead(pool: ThreadPoolExecutor, windows: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same windows, the next of which is cut while this one is in use."""
    following = pool.submit(next, windows, None)
    while (window := following.result()) is not None:
        following = pool.submit(next, windows, None)
        yield window


def open_song(source: Source, cut: Cut) -> SongAudio:
    """Decode a song, or what is heard of it, or make ready to stream one too long to hold.

    Raises AudioError.
    """
    if isinstance(source, bytes):
        return _whole(source, cut)
    if cut.max_windows and os.path.isfile(source):  # seeking would take what a pipe holds
        with contextlib.suppress(DecodeWhole):
            samples, starts, windows = read_excerpts(source, cut.window, cut.starts)
            return SongAudio(samples, starts, iter(windows))
    if not is_long(source):
        return _whole(source, cut)
    # A first pass counts the samples, for no header can be trusted with the last window.
    samples = _enough(sum(map(len, stream_audio(source))))
    starts = cut.starts(samples)
    windows = cut_stream(stream_audio(source), starts, cut.window)
    return SongAudio(samples, starts, windows, streamed=True)


def _whole(source: Source, cut: Cut) -> SongAudio:
    audio = load_audio(_decodable(source))
    starts = cut.starts(_enough(len(audio)))
    return SongAudio(len(audio), starts, (audio[first : first + cut.window] for first in starts))


def _enough(samples: int) -> int:
    if samples < FRAME_LENGTH:
        raise AudioError(
            f"{1000 * samples / SAMPLING_RATE:.1f} ms of sound are too short: "
            "25 ms are the least that has a spectrum"
        )
    return samples


def _decodable(source: Source) -> Source:
    """A file whose name is not Unicode as its bytes: torchcodec takes no such name."""
    if isinstance(source, bytes):
        return source
    with contextlib.suppress(UnicodeEncodeError):
        str(source).encode()
        return source
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise AudioError(NOT_OPENED.get(error.strerror, error.strerror)) from error


def cut_stream(
    blocks: Iterable[np.ndarray], starts: list[int], window: int
) -> Iterator[np.ndarray]:
    """Windows at ascending `starts` out of successive blocks, holding no more than it must."""
    held, position, blocks = np.zeros(0, np.float32), 0, iter(blocks)
    for start in starts:
        while position + len(held) < start + window:
            block = next(blocks, None)
            if block is None:
                break
            past = max(0, min(start - position, len(held)))
            held, position = np.concatenate([held[past:], block]), position + past
        yield held[start - position : start - position + window].copy()
