"""What worker processes are forked with: their server imports it once."""
# ruff: noqa: E402, F401

from genreast import garbage

garbage.defer_collection()

import io

import mutagen
import torchcodec.decoders
import transformers.audio_utils

import genreast.data.clips

mutagen.File(io.BytesIO())  # imports the readers of all formats, which each worker would do

garbage.resume_collection()
