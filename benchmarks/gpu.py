"""AST fine-tuning steps on one accelerator, against its matrix rate and the stock recipe.

    python -m benchmarks.gpu [--quick]
    python -m benchmarks.gpu --device cpu --size tiny --quick

Needs only torch, transformers and accelerate. Waveforms are made, and travel from pinned memory to
the device in every step; features are made on the device; bfloat16 autocast over float32 weights,
or float32 alone on a device that only imitates bfloat16.
Writes benchmarks/results/gpu.json.
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import ASTFeatureExtractor, Trainer, TrainerCallback, TrainingArguments

from benchmarks.measure import matrix_rate, rounded, save, synchronise, tokens_kept, training_flops
from genreast import attention, last_layer
from genreast.features import LogMel
from genreast.precision import multiplies_bfloat16
from genreast.training.augment import patchout, spec_augment
from genreast.training.model import from_scratch

CLASSES = 15
SAMPLES = 160_000  # 10 s at 16 kHz
PATCHOUTS = (0.0, 0.3, 0.5)


@dataclass(frozen=True)
class Setting:
    """One way to run a step."""

    batch_size: int
    attention: str = "sdpa"
    compiled: bool = False
    patchout: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", default="base", choices=("tiny", "small", "base"))
    parser.add_argument("--quick", action="store_true", help="few steps of few settings")
    args = parser.parse_args()
    command = f"python -m benchmarks.gpu --device {args.device} --size {args.size}"
    command += " --quick" * args.quick
    result = measure(torch.device(args.device), args.size, args.quick)
    save("gpu", result, command, args.quick)


def measure(device: torch.device, size: str, quick: bool = False) -> dict:
    """The matrix rate, then every setting's rate and its share of it, then the recipe's."""
    precision = torch.bfloat16 if multiplies_bfloat16(device) else torch.float32
    limits = {kind: matrix_rate(device, kind) for kind in {precision, torch.float32}}
    limit = limits[precision]
    print(f"matrix rate in {name_of(precision)}: {limit / 1e12:.2f} TFLOP/s", file=sys.stderr)
    steps = 2 if quick else 20
    small = 1 if quick else 32

    def run(setting: Setting) -> dict | None:
        try:
            found = train(setting, size, device, steps)
        except (torch.OutOfMemoryError, ImportError, OSError, ValueError, RuntimeError) as error:
            found = {"left_out": " ".join(str(error).split())[:120]}
        release(device)
        found = asdict(setting) | found
        if "samples_per_second" in found:
            flops = training_flops(from_scratch_config(size), found["tokens"], pooled_alone=True)
            achieved = found["samples_per_second"] * flops
            found["share_of_the_matrix_rate"] = rounded(achieved / limit)
        print(found, file=sys.stderr)
        return found

    kinds = ("sdpa", "eager") if quick else ("sdpa", "eager", "flash_attention_2")
    rows = [run(Setting(small, attention=kind)) for kind in kinds]
    kind = fastest(rows)["attention"]
    ways = (False,) if quick else (False, True)
    for compiled in ways:
        # Compiling takes most of a minute: it starts at the batch that was best without.
        first = fastest(rows)["batch_size"] if compiled else 2 * small
        for batch_size in batch_sizes(first, quick):
            rows.append(run(Setting(batch_size, kind, compiled)))
            if "samples_per_second" not in rows[-1]:
                break
    top = fastest(rows)
    for share in PATCHOUTS[1:]:
        for compiled in ways:
            rows.append(run(Setting(top["batch_size"], top["attention"], compiled, share)))
    best = {f"{share:g}": fastest(with_patchout(rows, share)) for share in PATCHOUTS}
    rates = {share: row["samples_per_second"] for share, row in best.items()}
    return {
        "device": device.type,
        "size": size,
        "clip_seconds": SAMPLES / 16_000,
        "precision": name_of(precision),
        "matrix_gigaflops": {name_of(kind): rounded(rate / 1e9) for kind, rate in limits.items()},
        "parameters": sum(p.numel() for p in from_scratch(size).parameters()),
        "settings": rows,
        "best": {share: row["share_of_the_matrix_rate"] for share, row in best.items()},
        "best_samples_per_second": rates,
        "gain_of_half": rounded(rates["0.5"] / rates["0"]),
        "recipe": recipe(size, device, 2 if quick else 10, 1 if quick else 8),
    }


def name_of(precision: torch.dtype) -> str:
    return str(precision).removeprefix("torch.")


def batch_sizes(smallest: int, quick: bool) -> list[int]:
    """Doubling, to the memory's end: the first that does not fit ends the row."""
    return [smallest * 2**power for power in range(1 if quick else 8)]


def fastest(rows: list[dict]) -> dict:
    """The setting with the most samples a second; the smallest of those within one hundredth."""
    whole = [row for row in rows if "samples_per_second" in row]
    if not whole:
        raise RuntimeError(f"no setting ran: {rows}")
    most = max(row["samples_per_second"] for row in whole)
    near = [row for row in whole if row["samples_per_second"] > 0.99 * most]
    return min(near, key=lambda row: row["batch_size"])


def from_scratch_config(size: str):
    return from_scratch(size).config


def with_patchout(rows: list[dict], share: float) -> list[dict]:
    return [row for row in rows if row["patchout"] == share]


class Step:
    """What one fine-tuning step does: features, SpecAugment, forward, backward, AdamW."""

    def __init__(self, setting: Setting, size: str, device: torch.device):
        torch.manual_seed(0)
        torch._dynamo.reset()
        self.device, self.setting = device, setting
        self.bfloat16 = multiplies_bfloat16(device)
        model = from_scratch(size, attn_implementation=setting.attention)
        model.classifier.dense = nn.Linear(model.config.hidden_size, CLASSES)
        self.config = model.config
        last_layer.use(model)
        if setting.compiled:
            attention.use_no_mask(model)
        self.model = model.to(device).train()
        self.generator = torch.Generator().manual_seed(0)
        self.forward = torch.compile(self.model) if setting.compiled else self.model
        self.features = LogMel(ASTFeatureExtractor()).train()
        fused = device.type == "cuda"
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, fused=fused)
        waveforms = torch.randn(setting.batch_size, SAMPLES, generator=self.generator) * 0.1
        self.waveforms = waveforms.pin_memory() if device.type == "cuda" else waveforms
        self.lengths = torch.full((setting.batch_size,), SAMPLES, device=device)
        self.labels = torch.arange(setting.batch_size, device=device) % CLASSES

    def __call__(self) -> None:
        with torch.no_grad():
            waveforms = self.waveforms.to(self.device, non_blocking=True)
            features = self.features(waveforms, self.lengths)
            frames = torch.full_like(self.lengths, 998)
            features = spec_augment(features, frames, 96, 24, self.generator)
        with (
            patchout(self.model, self.setting.patchout, "unstructured", self.generator),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16),
        ):
            logits = self.forward(input_values=features).logits
        loss = nn.functional.cross_entropy(logits.float(), self.labels)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def train(setting: Setting, size: str, device: torch.device, steps: int) -> dict:
    """Samples a second (median step) and peak memory of a setting."""
    start = time.perf_counter()
    step = Step(setting, size, device)
    for _ in range(1 if device.type == "cpu" else 5):
        step()
    synchronise(device)
    prepared = time.perf_counter() - start
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        synchronise(device)
        seconds.append(time.perf_counter() - start)
    found = {
        "tokens": tokens_kept(step.config, setting.patchout),
        "samples_per_second": rounded(setting.batch_size / statistics.median(seconds)),
        "seconds_a_step": [rounded(min(seconds)), rounded(max(seconds))],
        "seconds_before": rounded(prepared, 3),
    }
    if device.type == "cuda":
        found["peak_gigabytes"] = rounded(torch.cuda.max_memory_allocated(device) / 1e9)
    return found


def release(device: torch.device) -> None:
    """Give memory back before the next setting."""
    if device.type == "cuda":
        import gc

        gc.collect()
        torch.cuda.empty_cache()


def recipe(size: str, device: torch.device, steps: int, batch_size: int) -> dict:
    """The audio course's recipe: stock Trainer and extractor, float32, features on the CPU."""
    workers = 0 if device.type == "cpu" else 8
    model = from_scratch(size)
    clock = Clock(device)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        arguments = TrainingArguments(
            str(Path(folder)),
            max_steps=steps + Clock.WARM_UP,
            per_device_train_batch_size=batch_size,
            dataloader_num_workers=workers,
            use_cpu=device.type == "cpu",
            remove_unused_columns=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        data = ExtractedClips(batch_size * (steps + Clock.WARM_UP))
        Trainer(model, arguments, train_dataset=data, callbacks=[clock]).train()
    rate = batch_size * steps / (clock.times[-1] - clock.times[Clock.WARM_UP - 1])
    return {
        "batch_size": batch_size,
        "workers": workers,
        "precision": "float32",
        "samples_per_second": rounded(rate),
    }


class ExtractedClips(torch.utils.data.Dataset):
    """Made clips through the stock extractor when they are read, as `set_transform` does."""

    def __init__(self, count: int):
        self.count, self.extractor = count, ASTFeatureExtractor()
        self.waveform = torch.randn(SAMPLES, generator=torch.Generator().manual_seed(0)).numpy()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        features = self.extractor(self.waveform, sampling_rate=16_000, return_tensors="pt")
        return {"input_values": features["input_values"][0], "labels": index % 2}


class Clock(TrainerCallback):
    """When each step of a Trainer ended."""

    WARM_UP = 2

    def __init__(self, device: torch.device):
        self.device, self.times = device, []

    def on_step_end(self, args, state, control, **kwargs):
        synchronise(self.device)
        self.times.append(time.perf_counter())


if __name__ == "__main__":
    main()
