"""Publish a trained model on the Hugging Face Hub, so that `pipeline()` loads it.

    python push_to_hub.py models/demo USER/NAME --evaluation evaluation/demo-test --dry_run

Checks the model folder, stages exactly the files that belong on the Hub with a model card of the
measured metrics, loads what it staged, and uploads it in one commit. The token is that of
`hf auth login` or of HF_TOKEN.
"""

import sys
from pathlib import Path

from huggingface_hub import get_token

from genreast.config import PushArguments, parse
from genreast.errors import run
from genreast.hub import Destination, publish
from genreast.model_card import read_facts, render
from genreast.staging import OWNED, check_model_dir, read_evaluation, scan, stage_model

TEMPLATE = Path(__file__).with_name("model_card.md")


def main() -> None:
    arguments = parse(PushArguments, __doc__)
    model_dir = Path(arguments.model_dir)
    evaluation = Path(arguments.evaluation) if arguments.evaluation else None
    staging_dir = Path(arguments.staging_dir or model_dir / "hub_staging")

    # Everything that can be wrong here is found before the network is touched.
    check_model_dir(model_dir)
    if evaluation:
        read_evaluation(model_dir, evaluation)
    stage_model(model_dir, evaluation, staging_dir)
    card = render(read_facts(staging_dir, arguments.repo_id, arguments.license), TEMPLATE)
    (staging_dir / "README.md").write_text(card, encoding="utf-8")
    scan(staging_dir, owner=arguments.repo_id.split("/")[0], token=get_token())
    print(f"staged in {staging_dir}", file=sys.stderr)
    if arguments.dry_run:
        print(staging_dir)
        return

    destination = Destination(
        repo_id=arguments.repo_id,
        private=arguments.private,
        revision=arguments.revision,
        create_pr=arguments.create_pr,
        tag=arguments.tag,
        message=arguments.commit_message,
        owned=OWNED,
    )
    publication = publish(staging_dir, destination)
    state = "published" if publication.changed else "already there, nothing to upload"
    print(f"{state}: commit {publication.commit[:8]}", file=sys.stderr)
    print(publication.url)


if __name__ == "__main__":
    run(main)
