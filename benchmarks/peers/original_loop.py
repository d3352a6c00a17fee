"""Peer: how the original GenreAST predicted. Each song is read at 44.1 kHz and resampled by
`resample_poly`; its middle 10 s go through the model alone, in float32."""

import librosa
import torch
from scipy.signal import resample_poly
from transformers import ASTFeatureExtractor, ASTForAudioClassification


def predict(model_dir: str, songs: list[str]) -> int:
    """Predict the songs one by one; gives the number of windows heard."""
    extractor = ASTFeatureExtractor.from_pretrained(model_dir)
    model = ASTForAudioClassification.from_pretrained(model_dir).eval()
    for song in songs:
        audio, _ = librosa.load(song, sr=44_100, mono=True)
        audio = resample_poly(audio, 160, 441)
        middle = max(len(audio) // 2 - 80_000, 0)
        features = extractor(
            audio[middle : middle + 160_000], sampling_rate=16_000, return_tensors="pt"
        )
        with torch.no_grad():
            model(**features).logits.argmax(-1).item()
    return len(songs)
