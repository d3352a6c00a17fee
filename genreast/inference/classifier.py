"""A model folder or Hub id and songs → genre probabilities, window by window.

    GenreClassifier.from_pretrained("user/name")("song.mp3").genres()

A whole song is heard in windows; its probabilities come from the mean of the windows'
log-probabilities, silent windows left out. A 10 s file gets what
`pipeline("audio-classification")` gives.
"""

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax

from genreast import attention, last_layer, pretrained
from genreast.audio import CLIP_SECONDS, SAMPLING_RATE, AudioError
from genreast.errors import UserError, one_line
from genreast.features import LogMel, pad_batch
from genreast.inference import packed
from genreast.inference.windows import Cut, SongAudio, Source, read_songs
from genreast.model_window import window_samples
from genreast.precision import choose, is_large, remarks

SILENCE_PEAK = 1e-4  # −80 dB of full scale, three steps of 16 bits: dither, no music


@dataclass(eq=False)  # an array is not true or false
class SongPrediction:
    """What the model hears in one song, window by window; or the problem that kept it from hearing.

    Silent windows are left out. A song that is silent throughout has a problem, and its
    log-probabilities are the model's guess at silence.
    """

    song: str
    labels: list[str]
    seconds: float = 0.0
    window_seconds: float = CLIP_SECONDS
    starts: list[float] = field(default_factory=list, repr=False)  # of each window, in seconds
    log_probabilities: np.ndarray | None = field(default=None, repr=False)  # (windows, classes)
    embedding: np.ndarray | None = field(default=None, repr=False)  # (hidden,), as `logits` says
    problem: str | None = None

    @property
    def probabilities(self) -> np.ndarray:
        """Of the whole song, (classes,): the windows' mean log-probability, normalised."""
        if self.problem:
            raise AudioError(f"{self.song}: {self.problem}")
        return softmax(self.pooled)

    @property
    def pooled(self) -> np.ndarray:
        """Mean log-probabilities over the windows, (classes,)."""
        return self.log_probabilities.mean(0)

    def genres(self, top_k: int | None = None) -> list[tuple[str, float]]:
        """Genres and their probabilities, the most probable first."""
        probabilities = self.probabilities
        order = np.argsort(-probabilities, kind="stable")[:top_k]
        return [(self.labels[index], float(probabilities[index])) for index in order]


class GenreClassifier:
    """A trained model that hears whole songs.

    The model given is changed for good: moved to the device, set to evaluation and, where that is
    faster, put into bfloat16. Give a copy of one that is still to be trained.
    """

    def __init__(
        self,
        model,
        extractor,
        device: str | torch.device | None = None,
        precision: str = "auto",
    ):
        self.device = torch.device(device or best_device())
        self.model = model.to(self.device).eval()
        self.dtype = choose(precision, model, self.device)
        self.remarks = remarks(self.dtype == torch.bfloat16, self.device)
        self.log_mel = LogMel(extractor, exact=precision != "auto").eval()
        large, on_cpu = is_large(model), self.device.type == "cpu"
        # Threads that share a matrix product wait for each other, and for ever where the decoder
        # holds their cores: a small model hears a batch on one thread, and a batch a core at once.
        self.threads = 1 if on_cpu and not large else None
        self.batches_at_once = torch.get_num_threads() if self.threads else 1
        # A CPU's cache holds what a layer makes of one window, not of a batch.
        self.windows_at_once = max(1, torch.get_num_threads() // 2) if on_cpu and large else None
        last_layer.use(model)
        if on_cpu and self.dtype == torch.bfloat16:
            attention.use(model)
            packed.use(model)
        self.labels = pretrained.label_names(model)
        self.window = window_samples(model.config)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, device: str | None = None, precision: str = "auto"
    ) -> "GenreClassifier":
        """Load a model folder or Hub id. Raises UserError when it cannot be used.

        `precision` is float32, bfloat16 or auto: bfloat16 where it is faster.
        """
        _check_device(device)
        return cls(*pretrained.load(str(name)), device, precision)

    def __call__(self, song: Source, **options) -> SongPrediction:
        """Hear one song; options as in `predict`. Raises AudioError when there is no answer, and
        TypeError for several songs."""
        if isinstance(song, list | tuple):
            kind = type(song).__name__
            raise TypeError(f"song is a {kind}; expected one song: predict(songs) hears several")
        prediction = next(self.predict([song], **options))
        if prediction.problem:
            raise AudioError(f"{prediction.song}: {prediction.problem}")
        return prediction

    def predict(
        self,
        songs: Iterable[Source],
        batch_size: int = 8,
        overlap: float = 0.0,
        max_windows: int | None = None,
    ) -> Iterator[SongPrediction]:
        """Hear songs in batches that reach across them; yield each as it is done, in order.

        A song is a file, or a file's bytes; samples are not taken, for they do not tell their rate.
        `overlap` is the share of a window that the next one repeats, 0 or more and below 1. A song
        without an answer (unreadable, silent, under 25 ms) is yielded with its `problem`.
        Raises ValueError for options that cannot be, TypeError for what is no song.
        """
        if isinstance(songs, Source):
            kind = type(songs).__name__
            raise ValueError(f"songs is a {kind}, which is one song; expected several, as [song]")
        if not 0 <= overlap < 1:
            raise ValueError(f"overlap is {overlap}; expected 0 or more and below 1")
        if batch_size < 1 or (max_windows is not None and max_windows < 1):
            raise ValueError(
                f"batch_size is {batch_size} and max_windows {max_windows}; expected 1 or more"
            )
        return self._predictions(songs, batch_size, overlap, max_windows)

    def _predictions(
        self, songs: Iterable[Source], batch_size: int, overlap: float, max_windows: int | None
    ) -> Iterator[SongPrediction]:
        hop = max(1, round(self.window * (1 - overlap)))
        cut = Cut(self.window, hop, max_windows)
        waiting: deque[_Hearing] = deque()
        batches = self._batches(
            read_songs(songs, cut, torch.get_num_threads()), batch_size, waiting
        )
        for batch, (logits, pooled) in self._heard(batches):
            for (hearing, window), row, embedding in zip(batch, logits, pooled, strict=True):
                hearing.take(window, row, embedding)
            while waiting and waiting[0].done:
                yield self._prediction(waiting.popleft())
        while waiting:
            yield self._prediction(waiting.popleft())

    def _batches(
        self,
        songs: Iterable[tuple[str, SongAudio | AudioError]],
        batch_size: int,
        waiting: deque["_Hearing"],
    ) -> Iterator["Batch"]:
        """Windows in batches that reach across songs; each song begun is left in `waiting`."""
        batch: Batch = []
        for song, audio in songs:
            hearing = _Hearing(song)
            waiting.append(hearing)
            if isinstance(audio, AudioError):
                hearing.problem, hearing.expected = str(audio), 0
                continue
            hearing.seconds = audio.samples / SAMPLING_RATE
            hearing.starts = [start / SAMPLING_RATE for start in audio.starts]
            hearing.expected = len(audio.starts)
            for window in self._windows(audio, hearing):
                batch.append((hearing, window))
                if len(batch) == batch_size:
                    yield batch
                    batch = []
        if batch:
            yield batch

    def _heard(self, batches: Iterable["Batch"]) -> Iterator[tuple["Batch", "Answer"]]:
        """Each batch and what the model makes of it, in order, some batches ahead."""
        if self.batches_at_once == 1:
            yield from ((batch, self._hear(batch)) for batch in batches)
            return
        ahead: deque[tuple[Batch, Future[Answer]]] = deque()
        with ThreadPoolExecutor(self.batches_at_once, thread_name_prefix="model") as pool:
            for batch in batches:
                ahead.append((batch, pool.submit(self._hear_beside, batch)))
                if len(ahead) > self.batches_at_once:
                    batch, answer = ahead.popleft()
                    yield batch, answer.result()
            for batch, answer in ahead:
                yield batch, answer.result()

    def _hear(self, batch: "Batch") -> "Answer":
        return self.logits(*pad_batch(window for _, window in batch))

    def _hear_beside(self, batch: "Batch") -> "Answer":
        """`_hear` in a thread beside others that hear."""
        try:
            return self._hear(batch)
        finally:
            # A thread begins with the count that the last to set one had: this one with the single
            # thread of another, perhaps, which it then leaves to all that come later.
            torch.set_num_threads(self.batches_at_once)

    @staticmethod
    def _windows(audio: SongAudio, hearing: "_Hearing") -> Iterator[np.ndarray]:
        """A song's windows; one that ends in an error midway is a song without an answer."""
        count = 0
        try:
            for window in audio.windows:
                count += 1
                yield window
        except AudioError as error:
            hearing.problem, hearing.expected = str(error), count

    @torch.inference_mode()
    def logits(
        self, waveforms: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms (batch, samples) and their real lengths (batch,) → float32 logits
        (batch, classes) and pooled features (batch, hidden), both on the CPU.

        Pooled is the mean of the class and distillation tokens after the last norm: what the head
        is given. A song's embedding is the mean of its windows'.

        Raises UserError where a logit is infinite or no number.
        """
        low = self.dtype != torch.float32
        with torch_threads(self.threads):
            features = self.log_mel(waveforms.to(self.device), lengths.to(self.device))
            with torch.autocast(self.device.type, dtype=self.dtype if low else None, enabled=low):
                body = self.model.audio_spectrogram_transformer
                parts = features.split(self.windows_at_once or len(features))
                pooled = torch.cat([body(part).pooler_output for part in parts])
            logits = self.model.classifier(pooled.float())
        logits = logits.float().cpu()
        if not torch.isfinite(logits).all():
            raise UserError(
                "the model answers with what is no number (NaN) or infinite: it diverged in"
                " training, or its weights, or the mean and std of its features, are damaged; name"
                " another, or train again"
            )
        return logits, pooled.float().cpu()

    def _prediction(self, hearing: "_Hearing") -> SongPrediction:
        common = {
            "song": hearing.song,
            "labels": self.labels,
            "seconds": hearing.seconds,
            "window_seconds": self.window / SAMPLING_RATE,
        }
        if hearing.problem:
            return SongPrediction(**common, problem=hearing.problem)
        sound = np.array(hearing.peaks) >= SILENCE_PEAK
        silent = not sound.any()
        kept = np.flatnonzero(sound | silent)
        return SongPrediction(
            **common,
            problem="what was heard of it is silent: nothing to judge" if silent else None,
            starts=[hearing.starts[window] for window in kept],
            log_probabilities=np.stack(hearing.rows)[kept],
            embedding=np.stack(hearing.embeddings)[kept].mean(0),
        )


@dataclass
class _Hearing:
    """A song while its windows are with the model."""

    song: str
    problem: str | None = None
    seconds: float = 0.0
    starts: list[float] = field(default_factory=list)
    expected: int | None = None
    rows: list[np.ndarray] = field(default_factory=list)
    embeddings: list[np.ndarray] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return len(self.rows) == self.expected

    def take(self, window: np.ndarray, logits: torch.Tensor, embedding: torch.Tensor) -> None:
        """Note what the model makes of one window."""
        self.rows.append(logits.double().log_softmax(0).numpy())
        self.embeddings.append(embedding.numpy())
        self.peaks.append(float(np.abs(window).max()))


Batch = list[tuple[_Hearing, np.ndarray]]
Answer = tuple[torch.Tensor, torch.Tensor]  # logits and pooled features


@contextlib.contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let torch use so many threads meanwhile; None leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def best_device() -> str:
    """cuda, mps or cpu: the best that is there."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _check_device(device: str | None) -> None:
    if device is None:
        return
    try:
        device = torch.device(device)
    except RuntimeError as error:  # which lists twenty, vulkan too
        raise UserError(f"--device is '{device}'; expected cpu, cuda, cuda:1 or mps") from error
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise UserError(
            f"--device is '{device}', which cannot be used here ({one_line(error, 120)}); leave it"
            " out for the best there is"
        ) from error
