"""Publish a trained model on the Hugging Face Hub, so that `pipeline()` loads it.

    python push_to_hub.py models/demo USER/NAME --evaluation evaluation/demo-test --dry_run
    python push_to_hub.py models/demo USER/NAME --onnx --space USER/PAGE
    python push_to_hub.py --dataset_dir data/processed --dataset_repo USER/SONGS

Gathers exactly the files that belong on the Hub with a page of the measured metrics, checks that
nothing private is among them and that they load, and uploads them in one commit, which is read
back and compared. The token is that of `hf auth login` or of HF_TOKEN.
"""

import sys
from pathlib import Path

from genreast.arguments import PushArguments
from genreast.config import parse
from genreast.errors import run

TEMPLATE = Path(__file__).with_name("model_card.md")
PAGE_DIR = Path(__file__).parent / "examples" / "space"


def main() -> None:
    args = parse(PushArguments, __doc__)

    # Torch and transformers take seconds to import: the flags are checked first.
    from genreast.garbage import resume_collection
    from genreast.publishing.hub import check_login, publish
    from genreast.publishing.steps import pack

    if not args.dry_run:
        check_login()
    with pack(args, TEMPLATE, PAGE_DIR) as parcels:
        resume_collection()
        for parcel in parcels:
            print(f"staged and checked: {parcel.folder} ({parcel.note})", file=sys.stderr)
        if args.dry_run:
            print(*(parcel.folder for parcel in parcels), sep="\n")
            return

        for parcel in parcels:
            publication = publish(parcel.folder, parcel.destination, parcel.check)
            state = "published" if publication.changed else "already there, nothing to upload"
            print(f"{state}: commit {publication.commit[:8]}", file=sys.stderr)
            for note in publication.notes:
                print(note, file=sys.stderr)
            print(publication.url, flush=True)


if __name__ == "__main__":
    run(main)
