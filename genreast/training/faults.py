"""What stops a training from outside, of memory, disk and settings, told with its remedy."""

from contextlib import contextmanager

import torch

from genreast.errors import DISK_FULL, UserError
from genreast.training.recipe import TrainArguments

NO_SPACE = ("No space left", "PytorchStreamWriter failed", "unexpected pos")
PEER_GONE = ("Connection closed by peer", "Connection reset by peer")
WORKER_GONE = ("killed by signal", "exited unexpectedly", "No space left")
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")


@contextmanager
def plain_faults(args: TrainArguments):
    """Turn the faults a user can mend, of memory, disk and settings, into their remedies."""
    try:
        yield
    except UserError as error:
        _, handed_over, words = str(error).rpartition("genreast.errors.UserError: ")
        if not handed_over:
            raise
        # A process that decodes hands its error over as the text of a traceback.
        raise UserError(words.strip()) from error
    except Exception as error:
        remedy = remedy_for(error, args)
        if remedy is None:
            raise
        raise UserError(remedy) from error


def remedy_for(error: Exception, args: TrainArguments) -> str | None:
    """What a user can do about an error, or None where that is not known.

    On a CPU torch raises plain RuntimeErrors where memory or the disk ends; safetensors has an
    error of its own.
    """
    text = str(error)
    if "DataLoader worker" in text and any(words in text for words in WORKER_GONE):
        return (
            "a process that decodes clips found no memory left; give a container more shared "
            f"memory (--shm-size), or lower --dataloader_num_workers ({args.dataloader_num_workers}"
            "), then go on from the last whole checkpoint with --resume_from_checkpoint last"
        )
    out_of_memory = isinstance(error, torch.OutOfMemoryError | MemoryError)
    if out_of_memory or any(words in text for words in NO_MEMORY):
        return (
            f"a batch does not fit in memory ({args.per_device_train_batch_size} clips, "
            f"{args.per_device_eval_batch_size} in evaluation); halve "
            "--per_device_train_batch_size and double --gradient_accumulation_steps, set "
            "--activation_checkpointing true, or lower --per_device_eval_batch_size"
        )
    if getattr(error, "errno", None) in DISK_FULL or any(words in text for words in NO_SPACE):
        place = getattr(error, "filename", None) or args.output_dir
        return (
            f"'{place}' cannot be written to its end: the disk is full; make room, then go on from "
            "the last whole checkpoint with --resume_from_checkpoint last"
        )
    if any(words in text for words in PEER_GONE):
        return "another process of this run has stopped; its message, or the launcher's, says why"
    if "loaded state dict" in text:
        return (
            f"the optimizer of checkpoint '{args.resume_from_checkpoint}' does not fit; resume "
            "with the settings it was made with (such as --freeze)"
        )
    return None
