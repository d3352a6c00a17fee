"""From the flags of `push_to_hub.py` to what is published: staged, checked, and where it goes."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from huggingface_hub import get_token, metadata_load

from genreast.arguments import PushArguments
from genreast.pages import PAGE_FILE
from genreast.publishing import staging, staging_folder
from genreast.publishing.destination import Destination
from genreast.publishing.licenses import check_license
from genreast.publishing.model_card import render
from genreast.publishing.model_facts import read_facts
from genreast.publishing.privacy import scan

NO_LICENSE = (
    "the model's page will state no licence: name yours with --license, such as cc-by-4.0 or mit"
)
NOT_NAMED = "'{}' is another dataset than the model's: the model's page does not name {}"


@dataclass(frozen=True)
class Parcel:
    """A staging folder that may go out, where it goes, and how its copy is checked there."""

    folder: Path
    destination: Destination
    note: str
    check: Callable[[Path], None] | None = None


@contextlib.contextmanager
def pack(args: PushArguments, template: Path, page_dir: Path) -> Iterator[list[Parcel]]:
    """Stage and check everything that the flags ask for; the network is not touched. Within the
    block no other run changes what is staged.

    `template` is the model card's, `page_dir` holds the Space's files. Raises UserError for
    whatever is wrong. The model's page names the dataset and the Space shows the model, so they
    go out in this order.
    """
    metrics = _check_given(args)
    parcels = []
    with contextlib.ExitStack() as held:
        if args.dataset_dir:
            parcels.append(_pack_dataset(args, held))
        if args.model_dir:
            parcels.append(_pack_model(args, held, metrics, template))
        if args.space:
            parcels.append(_pack_space(args, held, page_dir))
        yield parcels


def _check_given(args: PushArguments) -> dict:
    """The evaluation's metrics, where one is given, once all is checked that takes no time: to
    write a dataset's shards or to export a model may take minutes."""
    check_license(args.license)
    check_license(args.dataset_license)
    if not args.model_dir:
        return {}
    model_dir = Path(args.model_dir)
    staging.check_model_dir(model_dir)
    metrics = staging.read_evaluation(model_dir, Path(args.evaluation)) if args.evaluation else {}
    if args.onnx:
        # Transformers' models take seconds to import: what needs none is checked first.
        from genreast.publishing.onnx_export import check_installed

        check_installed()
    return metrics


def _pack_model(
    args: PushArguments, held: contextlib.ExitStack, metrics: dict, template: Path
) -> Parcel:
    from genreast.publishing import onnx_export
    from genreast.publishing.score_check import check_scores, describe, known_clips

    if args.license is None:
        print(NO_LICENSE, file=sys.stderr)
    model_dir = Path(args.model_dir)
    evaluation = Path(args.evaluation) if args.evaluation else None
    folder = held.enter_context(staging_folder.hold(_staging_dir(args, model_dir / "hub_staging")))
    dataset_dir = Path(args.dataset_dir) if args.dataset_dir else None
    published = _published(args)
    if published and published != metrics.get("dataset_fingerprint", published):
        dataset_dir = None  # its clips may have the names of those measured
    clips = known_clips(model_dir, evaluation, metrics, dataset_dir)
    if args.onnx:
        onnx_export.export(model_dir, clips)

    def page(staged: Path) -> str:
        branch = args.revision if args.revision != "main" else None
        facts = read_facts(staged, args.repo_id, args.license, args.dataset_repo, published, branch)
        if facts.dataset_repo != args.dataset_repo:
            print(NOT_NAMED.format(args.dataset_dir, args.dataset_repo), file=sys.stderr)
        return render(facts, template)

    staging.stage_model(model_dir, evaluation, folder, page, args.onnx)
    scan(folder, owners=_owners(args, folder), token=get_token())
    check = partial(check_scores, clips=clips)
    check(folder)
    flagged = {} if args.take_down else staging.FLAGGED
    destination = _destination(args, args.repo_id, owned=staging.OWNED, flagged=flagged)
    return Parcel(folder, destination, describe(clips), check)


def _published(args: PushArguments) -> str | None:
    """The fingerprint of the dataset that goes out beside the model, where one does."""
    if not args.dataset_dir:
        return None
    from genreast.publishing import hub_dataset

    return hub_dataset.fingerprint_of(Path(args.dataset_dir))


def _pack_dataset(args: PushArguments, held: contextlib.ExitStack) -> Parcel:
    from genreast.publishing import hub_dataset

    dataset_dir = Path(args.dataset_dir).resolve()  # "." has no name
    # Beside the dataset, not in it: a loader would take the shards for more of it.
    beside = dataset_dir.with_name(f"{dataset_dir.name}-hub_staging")
    as_audiofolder = args.dataset_format == "audiofolder"
    hub_dataset.check_dataset_dir(dataset_dir, as_audiofolder)
    folder = held.enter_context(staging_folder.hold(_staging_dir(args, beside, "-dataset")))
    hub_dataset.stage_dataset(
        dataset_dir, args.dataset_repo, args.dataset_license, as_audiofolder, folder
    )
    scan(folder, hub_dataset.STAGED, owners=_owners(args, folder), token=get_token())
    private = args.private or args.dataset_license is None
    destination = _destination(
        args, args.dataset_repo, repo_type="dataset", private=private, owned=hub_dataset.OWNED
    )
    rights = "no --dataset_license, so it is kept private"
    return Parcel(folder, destination, args.dataset_license or rights)


def _pack_space(args: PushArguments, held: contextlib.ExitStack, page_dir: Path) -> Parcel:
    from genreast.publishing import hub_space

    beside = Path(args.model_dir) / "hub_staging-space"
    folder = held.enter_context(staging_folder.hold(_staging_dir(args, beside, "-space")))
    hub_space.stage_space(page_dir, args.repo_id, folder)
    scan(folder, hub_space.STAGED, owners=_owners(args, folder), token=get_token())
    note = f"a page that shows {args.repo_id}"
    if args.private:
        note += "; it reads a private model with the secret HF_TOKEN of its settings"
    destination = _destination(args, args.space, repo_type="space", owned=hub_space.OWNED)
    return Parcel(folder, destination, note)


def _owners(args: PushArguments, folder: Path) -> set[str]:
    """Whose names a page may hold: those of the repositories that it links."""
    card = metadata_load(folder / PAGE_FILE)
    linked = [card.get("base_model"), *(card.get("datasets") or [])]
    repos = filter(None, (args.repo_id, args.dataset_repo, args.space, *linked))
    return {repo.split("/")[0] for repo in repos}


def _staging_dir(args: PushArguments, default: Path, suffix: str = "") -> Path:
    """--staging_dir with the suffix on its name, which "." and a link tell only once resolved."""
    return Path(f"{Path(args.staging_dir).resolve()}{suffix}") if args.staging_dir else default


def _destination(args: PushArguments, repo_id: str, **options) -> Destination:
    shared = {
        "private": args.private,
        "revision": args.revision,
        "create_pr": args.create_pr,
        "tag": args.tag,
        "message": args.commit_message,
        "edited_page": args.edited_page,
    }
    return Destination(repo_id, **(shared | options))
