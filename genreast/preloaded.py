"""What worker processes are forked with: their server imports it once, and looks over none of it
for garbage, then or later.
"""
# ruff: noqa: E402, F401

import gc

gc.disable()

import mutagen
import torchcodec.decoders
import transformers.audio_utils

import genreast.clips

gc.freeze()
gc.enable()
