"""From the flags of `push_to_hub.py` to what is published: staged, checked, and where it goes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from huggingface_hub import get_token

from genreast import staging
from genreast.config import PushArguments
from genreast.hub import Destination
from genreast.licenses import check_license
from genreast.model_card import read_facts, render


@dataclass(frozen=True)
class Parcel:
    """A staging folder that may go out, where it goes, and how its copy is checked there."""

    folder: Path
    destination: Destination
    note: str
    check: Callable[[Path], None] | None = None


def pack(args: PushArguments, template: Path) -> list[Parcel]:
    """Stage and check everything that the flags ask for; the network is not touched.

    Raises UserError for whatever is wrong. The dataset comes first: the model's page names it.
    """
    parcels = []
    if args.dataset_dir:
        parcels.append(_pack_dataset(args))
    if args.model_dir:
        parcels.append(_pack_model(args, template))
    return parcels


def _pack_model(args: PushArguments, template: Path) -> Parcel:
    model_dir = Path(args.model_dir)
    evaluation = Path(args.evaluation) if args.evaluation else None
    folder = Path(args.staging_dir or model_dir / "hub_staging")
    staging.check_model_dir(model_dir)
    check_license(args.license)
    metrics = staging.read_evaluation(model_dir, evaluation) if evaluation else {}

    # Transformers' models take seconds to import: what needs none is checked first.
    from genreast import onnx_export
    from genreast.score_check import check_scores, describe, known_clips

    dataset_dir = Path(args.dataset_dir) if args.dataset_dir else None
    if args.onnx:
        onnx_export.check_installed()
    clips = known_clips(model_dir, evaluation, metrics, dataset_dir)
    if args.onnx:
        onnx_export.export(model_dir, clips)
    staging.stage_model(model_dir, evaluation, folder, args.onnx)
    card = render(read_facts(folder, args.repo_id, args.license, args.dataset_repo), template)
    (folder / "README.md").write_text(card, encoding="utf-8")
    staging.scan(folder, owner=args.repo_id.split("/")[0], token=get_token())
    check = partial(check_scores, clips=clips)
    check(folder)
    destination = _destination(args, args.repo_id, owned=staging.OWNED)
    return Parcel(folder, destination, describe(clips), check)


def _pack_dataset(args: PushArguments) -> Parcel:
    from genreast import hub_dataset

    dataset_dir = Path(args.dataset_dir)
    # Beside the dataset, not in it: a loader would take the shards for more of it.
    folder = dataset_dir.with_name(f"{dataset_dir.name}-hub_staging")
    as_audiofolder = args.dataset_format == "audiofolder"
    hub_dataset.check_dataset_dir(dataset_dir)
    hub_dataset.stage_dataset(
        dataset_dir, args.dataset_repo, args.dataset_license, as_audiofolder, folder
    )
    owner = args.dataset_repo.split("/")[0]
    staging.scan(folder, hub_dataset.STAGED, owner=owner, token=get_token())
    private = args.private or args.dataset_license is None
    destination = _destination(
        args, args.dataset_repo, repo_type="dataset", private=private, owned=hub_dataset.OWNED
    )
    rights = "no --dataset_license, so it is kept private"
    return Parcel(folder, destination, args.dataset_license or rights)


def _destination(args: PushArguments, repo_id: str, **options) -> Destination:
    shared = {
        "private": args.private,
        "revision": args.revision,
        "create_pr": args.create_pr,
        "tag": args.tag,
        "message": args.commit_message,
    }
    return Destination(repo_id, **(shared | options))
