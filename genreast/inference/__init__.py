"""From a model and songs to genres."""

from genreast.inference.classifier import GenreClassifier, SongPrediction

__all__ = ["GenreClassifier", "SongPrediction"]
