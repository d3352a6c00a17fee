"""A mistake in what training is given is one message with its remedy."""

import pytest

from genreast.config import parse
from genreast.errors import UserError
from genreast.training.recipe import TrainArguments
from genreast.training.steps import fine_tune


@pytest.fixture
def words(short_start, genre_dataset, tmp_path) -> list[str]:
    """Settings that train, all but what a test adds."""
    start = ["--model_name_or_path", str(short_start), "--dataset", str(genre_dataset)]
    return [*start, "--output_dir", str(tmp_path / "out"), "--report_to", "none"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset", "nowhere/at/all"], "nowhere/at/all"),
        (["--learning_rate", "30"], "--learning_rate is 30.0; expected 0 to 1"),
        (["--loss", "hinge"], "expected one of cross_entropy, focal, logit_adjusted"),
        (["--from_scratch", "tiny"], "--model_name_or_path and --from_scratch exclude each other"),
        (["--hub_token", "secret-token"], "Set HF_TOKEN"),
        (["--learning_rte", "1"], "did you mean --learning_rate?"),
        (["--model_name_or_path", "nobody/no-such-model"], "nobody/no-such-model"),
    ],
)
def test_mistakes_are_named(flags, message, words, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as caught:
        fine_tune(parse(TrainArguments, argv=[*words, *flags]))
    text = str(caught.value)
    assert message in text
    assert "secret-token" not in text


@pytest.mark.parametrize("name", ["DEEPSPEED", "MEGATRON_LM"])
def test_a_sharding_of_accelerate_s_that_is_not_ours_is_refused(name, monkeypatch):
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(UserError, match=rf"{name} is true, .*: shard with configs/accelerate/fsdp"):
        TrainArguments()


def test_a_loss_that_is_no_number_stops_with_a_remedy(words):
    words += ["--bf16", "false", "--learning_rate", "1", "--optim", "sgd", "--max_grad_norm", "0"]
    words += ["--layer_decay", "1", "--warmup_steps", "0", "--num_train_epochs", "30"]
    words += ["--logit_adjustment", "1e30", "--loss", "logit_adjusted"]
    with pytest.raises(UserError, match="lower --learning_rate"):
        fine_tune(parse(TrainArguments, argv=words))
