"""What a person sees of a training run: a summary, a bar, a table of epochs, the curves."""

import sys
from collections import Counter
from pathlib import Path
from statistics import mean

import torch
from tqdm.auto import tqdm
from transformers import TrainerCallback

from genreast.audio import SAMPLING_RATE
from genreast.bars import bar
from genreast.training.memory import training_memory
from genreast.training.trainer import GenreTrainer

EPOCH_COLUMNS = {
    "epoch": ("epoch", "{:g}"),
    "loss": ("train loss", "{:.3f}"),
    "eval_loss": ("val. loss", "{:.3f}"),
    "eval_clip_accuracy": ("clip acc.", "{:.3f}"),
    "eval_clip_macro_f1": ("clip F1", "{:.3f}"),
    "eval_song_accuracy": ("song acc.", "{:.3f}"),
    "eval_song_macro_f1": ("song F1", "{:.3f}"),
}


def summary(trainer: GenreTrainer) -> str:
    """What is about to run, in a few lines: device, model, memory, data."""
    args, model, clips = trainer.args, trainer.ast, trainer.train_clips
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    precision = "bfloat16" if args.bf16 else "float16" if args.fp16 else "float32"
    songs = Counter(label for label, _ in set(zip(clips.labels, clips.song_ids, strict=True)))
    counts = Counter(clips.labels)
    shards = args.world_size if trainer.is_fsdp_enabled else 1
    lines = [
        f"device      {_device(args)}, {precision}, {args.world_size} process(es)",
        f"model       {trained / 1e6:.1f} M parameters trained, {frozen / 1e6:.1f} M frozen, "
        f"{_tokens(model)} tokens a window of {trainer.window / SAMPLING_RATE:g} s",
        f"memory      {training_memory(model, args, shards)}",
        f"data        {len(clips)} clips of {len(set(clips.song_ids))} songs to train on, "
        f"{len(trainer.eval_clips)} of {len(set(trainer.eval_clips.song_ids))} to validate",
    ]
    if workers := args.dataloader_num_workers:
        lines.append(f"decoding    {workers} process(es) beside each one that trains")
    genres = (
        f"{name} {songs[label]} songs / {counts[label]} clips"
        for label, name in enumerate(trainer.genres)
    )
    return "\n".join([*lines, f"genres      {', '.join(genres)}"])


def _device(args) -> str:
    if args.device.type == "cuda":
        return torch.cuda.get_device_name(args.device)
    return f"{args.device.type} with {torch.get_num_threads()} threads"


def _tokens(model) -> int:
    return model.audio_spectrogram_transformer.embeddings.position_embeddings.shape[1]


class ProgressTable(TrainerCallback):
    """The number of steps, a bar with loss and rate, and a line of metrics after each epoch, all
    to stderr. The loss of such a line is the mean over the steps since the line above.
    """

    def __init__(self):
        self.bar: tqdm | None = None
        self.rows: list[dict] = []
        self._losses: list[float] = []  # of each step since the last row, as far as logged
        self._logged = 0  # the last step among them

    def on_train_begin(self, args, state, control, train_dataloader, **kwargs):
        if state.is_world_process_zero:
            batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
            batch = min(batch, len(train_dataloader.dataset))  # no step reaches past its epoch
            epochs = "" if args.max_steps > 0 else f", {args.num_train_epochs:g} epochs"
            self._logged = state.global_step
            self._write(f"steps       {state.max_steps}, {batch} clips each{epochs}")
            self.bar = bar(
                total=state.max_steps,
                initial=state.global_step,
                unit="step",
                dynamic_ncols=True,
                disable=args.disable_tqdm,
            )

    def on_step_end(self, args, state, control, **kwargs):
        self._log_what_is_judged(args, control)
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_epoch_end(self, args, state, control, **kwargs):
        self._log_what_is_judged(args, control)

    @staticmethod
    def _log_what_is_judged(args, control) -> None:
        """Have the loss logged before an evaluation, by all processes: it is gathered from them."""
        if args.logging_strategy != "no":
            control.should_log |= control.should_evaluate

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.bar is not None and logs and "loss" in logs:
            loss = logs["loss"]
            self._losses += [loss] * (state.global_step - self._logged)
            self._logged = state.global_step
            shown = {"loss": f"{loss:.3f}", "lr": f"{logs['learning_rate']:.1e}"}
            self.bar.set_postfix(shown, refresh=False)

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        if not state.is_world_process_zero or self.bar is None:
            return  # the best checkpoint measured again, after training
        loss = mean(self._losses) if self._losses else None
        self._losses.clear()
        row = {**metrics, "epoch": state.epoch, "loss": loss}
        if not self.rows:
            self._write("  ".join(f"{title:>10}" for title, _ in EPOCH_COLUMNS.values()))
        self.rows.append(row)
        cells = [_cell(row.get(key), form) for key, (_, form) in EPOCH_COLUMNS.items()]
        self._write("  ".join(f"{cell:>10}" for cell in cells))

    def on_train_end(self, args, state, control, **kwargs):
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    @staticmethod
    def _write(line: str) -> None:
        tqdm.write(line, file=sys.stderr)


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def learning_curves(history: list[dict], path: Path) -> None:
    """Draw losses and macro-F1 against epochs from the Trainer's log history, a PNG file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6))
    # Room that a layout engine would find too, by drawing all a second time.
    margins = {"left": 0.07, "right": 0.985, "bottom": 0.14, "top": 0.91, "wspace": 0.14}
    losses, scores = figure.subplots(1, 2, gridspec_kw=margins)
    for axes, key, label in (
        (losses, "loss", "train (augmented)"),
        (losses, "eval_loss", "validation"),
        (scores, "eval_clip_macro_f1", "clips"),
        (scores, "eval_song_macro_f1", "songs"),
    ):
        points = [(entry["epoch"], entry[key]) for entry in history if key in entry]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, marker="o", markersize=3)
    losses.set(xlabel="epoch", title="Loss")
    scores.set(xlabel="epoch", title="Validation macro-F1", ylim=(0, 1.02))
    for axes in (losses, scores):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    figure.savefig(path, dpi=120)
