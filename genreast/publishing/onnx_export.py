"""The model for ONNX Runtime and Transformers.js: float32 and int8, held against PyTorch.

`MODEL_DIR/onnx` gets `model.onnx`, `model_quantized.onnx` and `measurements.json`: how large and
how fast each is, and how far its answers lie from PyTorch's on the same clips.
"""

import hashlib
import importlib.util
import json
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import softmax

from genreast import pretrained
from genreast.audio import SAMPLING_RATE
from genreast.errors import UserError
from genreast.pretrained import (
    CONFIG_FILE,
    EXTRACTOR_FILE,
    WEIGHTS_FILE,
    read_json,
    weights_fingerprint,
)
from genreast.publishing.score_check import MADE_SOUND, KnownClip
from genreast.publishing.staging import (
    FLOAT32_FILE,
    INT8_FILE,
    MEASUREMENTS_FILE,
    ONNX_DIR,
    ONNX_FILES,
)
from genreast.publishing.staging_folder import fill_aside

PRECISIONS = {FLOAT32_FILE: "float32", INT8_FILE: "int8 weights"}
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
OPSET = 18  # the one that torch's exporter is written in, so nothing is converted
TOLERANCE = 1e-4  # of a float32 logit against PyTorch's
TIMED_RUNS = 5


def check_installed() -> None:
    """Refuse to go on without the optional packages."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"--onnx needs {', '.join(missing)}: pip install -e '.[onnx]'")


def export(model_dir: Path, clips: list[KnownClip]) -> None:
    """Write `model_dir/onnx`, unless it was made of the same model before.

    Raises UserError when a float32 logit differs by more than `TOLERANCE`, or when the folder
    holds files that are not of an export.
    """
    folder = model_dir / ONNX_DIR
    source = _source(model_dir, clips)
    if _is_done(folder, source):
        return  # measured anew, its speeds would make each run another commit
    print("exporting to ONNX", file=sys.stderr)
    model, extractor = pretrained.load(str(model_dir))
    sounds = [clip.samples for clip in clips]
    features = extractor(sounds, sampling_rate=SAMPLING_RATE, return_tensors="np")["input_values"]

    def fill(target: Path) -> None:
        write_float32(model, target / FLOAT32_FILE)
        write_int8(target / FLOAT32_FILE, target / INT8_FILE)
        measurements = {
            "source": source,
            "clips": sum(clip.name != MADE_SOUND for clip in clips),
            "opset": OPSET,
            "versions": _versions(),
            "input": ["batch", *features.shape[1:]],
            **measure(model, target, features),
        }
        (target / MEASUREMENTS_FILE).write_text(json.dumps(measurements, indent=2) + "\n")

    fill_aside(folder, ONNX_FILES, fill, mark=MEASUREMENTS_FILE)


def write_float32(model: Any, path: Path) -> None:
    """Export `input_values` (batch, frames, mel) → `logits` (batch, classes), any batch."""
    config = model.config
    example = torch.zeros(2, config.max_length, config.num_mel_bins)
    attention = config._attn_implementation
    model.set_attn_implementation("eager")  # plain matrix products, which every runtime has
    try:
        with _quiet("torch.onnx"):
            program = torch.onnx.export(
                _Logits(model).eval(),
                (example,),
                input_names=["input_values"],
                output_names=["logits"],
                opset_version=OPSET,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                verbose=False,
            )
    finally:
        model.set_attn_implementation(attention)
    import onnx

    exported = program.model_proto
    _forget_origin(exported)
    onnx.save(exported, path)


def write_int8(source: Path, target: Path) -> None:
    """Quantise the weights of matrix products to 8 bits; activations follow as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul", "Gemm"],
            weight_type=QuantType.QUInt8,  # signed weights saturate on CPUs without VNNI
        )


def measure(model: Any, folder: Path, features: np.ndarray) -> dict[str, Any]:
    """Sizes, speeds and distances from PyTorch of the exported files on features (clips, …).

    Raises UserError when the float32 file's logits are not those of PyTorch.
    """
    with torch.inference_mode():
        expected = model(torch.from_numpy(features)).logits.numpy()
        seconds = _seconds(lambda: model(torch.from_numpy(features[:1])))
    weights = sum(parameter.nbytes for parameter in model.parameters())
    rows = [{"file": WEIGHTS_FILE, "precision": "float32", "bytes": weights}]
    rows[0]["seconds"] = seconds
    # One by one: plain attention over eight long windows takes tens of gigabytes.
    clips = np.split(features, len(features))
    for name, precision in PRECISIONS.items():
        session = _session(folder / name)
        logits = np.concatenate([session.run(["logits"], {"input_values": x})[0] for x in clips])
        difference = float(np.abs(logits - expected).max())
        if precision == "float32" and not difference <= TOLERANCE:
            raise UserError(
                f"the ONNX export does not give PyTorch's logits: they differ by {difference:.1g},"
                f" expected at most {TOLERANCE:g}. Publish without --onnx"
            )
        moved = np.abs(softmax(logits, axis=1) - softmax(expected, axis=1)).max()
        one = {"input_values": clips[0]}
        rows.append(
            {
                "file": f"{ONNX_DIR}/{name}",
                "precision": precision,
                "bytes": (folder / name).stat().st_size,
                "seconds": _seconds(lambda session=session, one=one: session.run(None, one)),
                "largest_logit_difference": difference,
                "largest_probability_difference": float(moved),
                "same_genre": int((logits.argmax(1) == expected.argmax(1)).sum()),
            }
        )
    return {"compared": len(features), "threads": torch.get_num_threads(), "files": rows}


class _Logits(torch.nn.Module):
    """A classifier that answers with its logits alone."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, input_values: torch.Tensor) -> torch.Tensor:
        return self.model(input_values=input_values).logits


@contextmanager
def _quiet(logger: str | None = None) -> Iterator[None]:
    """Without what exporters tell their own developers."""
    found = logging.getLogger(logger)
    level = found.level
    found.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        found.setLevel(level)


def _forget_origin(exported: Any) -> None:
    """Drop stack traces with this machine's paths, and shapes that quantising makes untrue."""
    graph = exported.graph
    for part in (exported, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.value_info[:]


def _session(path: Path) -> Any:
    """The file in ONNX Runtime, with as many threads as PyTorch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors only
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _seconds(run: Callable[[], Any]) -> float:
    """The median time of a run, after one to warm up."""
    times = []
    for _ in range(1 + TIMED_RUNS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return round(statistics.median(times[1:]), 4)


def _source(model_dir: Path, clips: list[KnownClip]) -> str:
    """A sha256 of what an export is made of; equal sources need no second one."""
    parts = {
        "weights": weights_fingerprint(model_dir),
        "config": read_json(model_dir / CONFIG_FILE),
        "features": read_json(model_dir / EXTRACTOR_FILE),
        "clips": [clip.name for clip in clips],
        "versions": _versions(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("torch", *PACKAGES)}


def _is_done(folder: Path, source: str) -> bool:
    if not all((folder / name).is_file() for name in ONNX_FILES):
        return False
    return read_json(folder / MEASUREMENTS_FILE).get("source") == source
