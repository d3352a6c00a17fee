"""Fine-tune an Audio Spectrogram Transformer on folders of songs, and publish it."""

__version__ = "0.1.0"
