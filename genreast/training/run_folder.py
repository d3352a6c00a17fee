"""The folder of a run: held by one run, resumed from whole checkpoints, never overwritten."""

import json
import sys
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from accelerate.utils import broadcast_object_list, gather_object
from transformers import ASTConfig

from genreast.data.audiofolder import check_outside
from genreast.errors import UserError
from genreast.lock import LOCK_FILE, alone
from genreast.pretrained import MODEL_FILES, RECORD_FILE, holds_weights
from genreast.training.checkpoints import check_best, checkpoints_in
from genreast.training.recipe import TrainArguments
from genreast.training.resuming import LAST_FILE, best_by, check_same_model, check_same_settings

METRICS_FILE = "train_metrics.json"  # the last that a run writes


@contextmanager
def output_folder(args: TrainArguments):
    """Hold the output folder for this run alone; refuse one that holds a model."""
    folder = Path(args.output_dir)
    check_outside(folder, args.dataset)
    folder.mkdir(parents=True, exist_ok=True)
    refuse_model(folder)
    if args.process_index > 0:
        yield
        return
    refusal = f"another run is writing to '{folder}'; wait for it, or choose another --output_dir"
    try:
        with alone(folder / LOCK_FILE, refusal):
            if checkpoints_in(folder) and not args.resume_from_checkpoint:
                raise UserError(
                    f"'{folder}' holds checkpoints of an unfinished run; go on with "
                    "--resume_from_checkpoint last, or choose another --output_dir"
                )
            yield
    finally:
        with suppress(OSError):
            folder.rmdir()  # nothing came of the run


def check_shared(args: TrainArguments) -> None:
    """Raise UserError, in every process alike, where not all of them see one output folder: each
    reads the checkpoints that the first one writes.
    """
    if args.world_size == 1:
        return
    mark = Path(args.output_dir) / f".shared-{uuid4().hex}"
    if args.process_index == 0:
        mark.touch()
    [name] = broadcast_object_list([mark.name])
    seen = gather_object([mark.with_name(name).exists()])  # which all of them wait for
    mark.unlink(missing_ok=True)
    if not all(seen):
        raise UserError(
            f"--output_dir '{args.output_dir}' must be one folder that all hosts share: "
            f"{seen.count(False)} of {len(seen)} processes do not see what the first one writes"
        )


def refuse_model(folder: Path) -> None:
    """Refuse a folder that holds a model, of a run of this project or of anyone else."""
    finished = (folder / METRICS_FILE).is_file()
    # Beside checkpoints they are what a run that was killed as it ended had written so far.
    others = any((folder / name).is_file() for name in (*MODEL_FILES, RECORD_FILE))
    if finished or (others and not checkpoints_in(folder)):
        raise UserError(
            f"'{folder}' holds a {'finished ' * finished}model; choose another --output_dir, or "
            "move it away"
        )


def checkpoint_to_resume(args: TrainArguments, config: ASTConfig, data: dict) -> str | None:
    """The checkpoint asked for; `last` is the newest whole one, None if none was ever finished.

    Raises UserError when it is damaged, holds weights alone, is of another model than that of
    `config`, or was trained on what is now held out. `data` are the fingerprints of the dataset,
    as it lies and as trained on.
    """
    wanted = args.resume_from_checkpoint
    if wanted is None:
        return None
    last = wanted.lower() in ("last", "true")
    checkpoint = newest_whole(args) if last else Path(wanted)
    if checkpoint is None:
        return None
    if holds_weights_alone(checkpoint):
        raise UserError(
            f"checkpoint '{checkpoint}' holds no optimizer state (--save_only_model); start anew "
            f"from it with --model_name_or_path {checkpoint} and another --output_dir"
        )
    if not is_whole(checkpoint):
        remedy = "use --resume_from_checkpoint last"
        if last:
            remedy = "no other is whole: start anew in another --output_dir"
        raise UserError(f"checkpoint '{checkpoint}' is missing or damaged; {remedy}")
    check_same_model(checkpoint, config)
    check_same_settings(checkpoint, args, data)
    tell_of_lost_best(checkpoint, args)
    return str(checkpoint)


def tell_of_lost_best(checkpoint: Path, args: TrainArguments) -> None:
    """Say so where the best checkpoint so far is gone: it can no longer be published.

    Raises UserError where a part of it is: it would be found out when all is trained.
    """
    state = json.loads((checkpoint / LAST_FILE).read_text())
    best = state.get("best_model_checkpoint")
    if not best or not args.load_best_model_at_end:
        return
    places = (checkpoint.parent / Path(best).name, Path(best))
    found = [place for place in places if place.is_dir()]
    if found:
        check_best(found[0])
    elif args.process_index == 0:
        worth = best_by(args.metric_for_best_model, state)
        print(
            f"the best checkpoint so far, '{Path(best).name}' ({args.metric_for_best_model} "
            f"{worth:.3f}), is gone: only a better one will be published in its place, else the "
            "last",
            file=sys.stderr,
        )


def newest_whole(args: TrainArguments) -> Path | None:
    """The last checkpoint that a run can go on from; tells of those passed over.

    Where there is none: the last that was finished, to say what is wrong with it, else None.
    """
    found = checkpoints_in(Path(args.output_dir))
    whole = [path for path in found if is_whole(path)]
    # A run killed in its first checkpoint has lost nothing by starting over; any other has.
    finished = [path for path in found if (path / LAST_FILE).exists()]
    chosen = (whole or finished or [None])[-1]
    for path in found:
        if path not in [*whole, chosen] and args.process_index == 0:
            lack = "without optimizer state" if holds_weights_alone(path) else "damaged"
            print(f"checkpoint '{path}' is {lack} and passed over", file=sys.stderr)
    if found and chosen is None and args.process_index == 0:
        print("no checkpoint was ever finished: training starts at its beginning", file=sys.stderr)
    return chosen


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end and none of its files was damaged since, as far
    as they have checksums: the weights have none.

    Raises PermissionError where that may not be looked at.
    """
    if not holds_model(checkpoint):
        return False
    files = [path for path in checkpoint.iterdir() if path.suffix in (".pt", ".pth", ".bin")]
    named = {path.stem for path in files}
    return {"optimizer", "scheduler"} <= named and all(map(_is_intact, files))


def _is_intact(path: Path) -> bool:
    """Whether a file of torch's, which is a zip, is as it was written: each part has a checksum."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except PermissionError:
        raise
    except Exception:  # each damage raises its own
        return False


def holds_weights_alone(checkpoint: Path) -> bool:
    """Whether a checkpoint was written whole, but without the state that training goes on with."""
    return holds_model(checkpoint) and not any(checkpoint.glob("optimizer*"))


def holds_model(checkpoint: Path) -> bool:
    """Whether the weights of a checkpoint, and what is said of them, are whole.

    Raises PermissionError where that may not be looked at.
    """
    try:
        step = json.loads((checkpoint / LAST_FILE).read_text())["global_step"]
    except PermissionError:
        raise
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return isinstance(step, int) and holds_weights(checkpoint)
