"""What worker processes are forked with: their server imports it once."""
# ruff: noqa: E402, F401

from genreast import garbage

garbage.defer_collection()

import mutagen
import torchcodec.decoders
import transformers.audio_utils

import genreast.clips

garbage.resume_collection()
