"""The folder of a run: held by one run, resumed from whole checkpoints, never overwritten."""

import fcntl
import json
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from genreast.errors import UserError
from genreast.recipe import TrainArguments


@contextmanager
def output_folder(args: TrainArguments):
    """Hold the output folder for this run alone; refuse one that holds a finished model."""
    folder = Path(args.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    if args.process_index > 0:
        yield
        return
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"another run is writing to '{folder}'; wait for it, or choose another --output_dir"
            ) from error
        if (folder / "train_metrics.json").is_file():
            raise UserError(
                f"'{folder}' holds a finished model; choose another --output_dir, or move it away"
            )
        if any(folder.glob("checkpoint-*")) and not args.resume_from_checkpoint:
            raise UserError(
                f"'{folder}' holds checkpoints of an unfinished run; go on with "
                "--resume_from_checkpoint last, or choose another --output_dir"
            )
        try:
            yield
        finally:
            (folder / ".lock").unlink(missing_ok=True)
            with suppress(OSError):
                folder.rmdir()  # nothing came of the run


def checkpoint_to_resume(args: TrainArguments) -> str | None:
    """The checkpoint asked for; `last` is the newest whole one, None if there is none yet."""
    wanted = args.resume_from_checkpoint
    if not wanted or wanted == "false":
        return None
    if wanted not in ("last", "true"):
        if not is_whole(Path(wanted)):
            raise UserError(
                f"checkpoint '{wanted}' is missing or cut short; use --resume_from_checkpoint last"
            )
        return wanted
    found = sorted(Path(args.output_dir).glob("checkpoint-*"), key=step_of)
    whole = [path for path in found if is_whole(path)]
    for path in found:
        if path not in whole and args.process_index == 0:
            print(f"checkpoint '{path}' is cut short and passed over", file=sys.stderr)
    return str(whole[-1]) if whole else None


def step_of(checkpoint: Path) -> int:
    """The step a checkpoint folder is named after."""
    return int(checkpoint.name.split("-")[1])


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end: the Trainer writes its state last."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return False
    return all((checkpoint / name).is_file() for name in ("model.safetensors", "optimizer.pt"))


@contextmanager
def plain_faults(args: TrainArguments):
    """Turn the faults a user can mend, of memory and of disk, into their remedies."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise UserError(
            f"a batch of {args.per_device_train_batch_size} clips does not fit in memory; halve "
            "--per_device_train_batch_size and double --gradient_accumulation_steps (the result is "
            "the same), or set --gradient_checkpointing true"
        ) from error
    except (OSError, RuntimeError) as error:
        if "No space left" in str(error) or "disk" in str(error).lower():
            raise UserError(
                f"the disk of '{args.output_dir}' is full; make room, then go on from the last "
                "whole checkpoint with --resume_from_checkpoint last"
            ) from error
        raise
