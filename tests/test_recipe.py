"""Settings of training that cannot be, or do not go together, are refused with what to set."""

import shutil

import numpy as np
import pytest
import torch
from conftest import run_training
from datasets import Dataset
from torch import nn

from genreast.errors import UserError
from genreast.metrics import score
from genreast.training.recipe import TrainArguments
from genreast.training.recipe_checks import SCORES


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"early_stopping_patience": 2, "eval_strategy": "no"}, "set that to epoch or steps"),
        ({"average_checkpoints": 2, "save_strategy": "no"}, "set that to epoch or steps"),
        ({"metric_for_best_model": "f1"}, "expected loss, or clip_ or song_ and one of accuracy"),
        ({"metric_for_best_model": "loss", "greater_is_better": True}, "better the lower; set"),
        ({"attn_implementation": "flash_attention_2"}, "use sdpa"),
        ({"dataloader_persistent_workers": True}, "it takes --dataloader_num_workers above 0"),
        ({"dataloader_prefetch_factor": 4}, "it takes --dataloader_num_workers above 0"),
        ({"dataloader_multiprocessing_context": "fork"}, "takes --dataloader_num_workers above"),
        ({"save_strategy": "best", "eval_strategy": "no"}, "best with --eval_strategy no, which"),
        (
            {"eval_strategy": "steps", "load_best_model_at_end": True},
            "--save_strategy is epoch with --eval_strategy steps; .* set both alike",
        ),
        ({"eval_accumulation_steps": 0}, "--eval_accumulation_steps is 0; expected 1 or more"),
        ({"max_steps": 0}, "--max_steps is 0, which trains nothing"),
        ({"train_sampling_strategy": "group_by_length"}, "leave it out: what is drawn follows"),
        ({"eval_do_concat_batches": False}, "is False; leave it out: songs are judged"),
        ({"average_tokens_across_devices": False}, "losses are divided by the clips of all"),
        ({"remove_unused_columns": True}, "is True; leave it out: it would drop the waveforms"),
        ({"hub_model_id": "alice/x"}, "--hub_model_id is alice/x; leave it out: push_to_hub.py"),
        ({"include_for_metrics": ["loss"]}, "the metrics need the logits alone"),
        ({"enable_jit_checkpoint": True}, "save with --save_strategy steps --save_steps N, stop"),
        ({"from_scratch": "tiny", "freeze": "body"}, "learns nothing from a body of random weig"),
        ({"from_scratch": "huge"}, "expected one of tiny, small, base"),
        ({"data_seed": 0}, "--seed decides"),
        ({"do_train": False}, "evaluate_model.py"),
        ({"do_predict": True}, "evaluate_model.py"),
        ({"average_checkpoints": 1}, "averages nothing"),
        ({"lr_scheduler_kwargs": "2"}, "lr_scheduler_kwargs is '2'; expected options by name"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, words, tmp_path):
    with pytest.raises(UserError, match=words):
        TrainArguments(output_dir=str(tmp_path), **{"load_best_model_at_end": False} | settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"save_steps": 15},
            r"15 with --eval_steps 10 \(--logging_steps\); .* set --save_steps 10 or",
        ),
        (
            {"save_steps": 15, "eval_steps": 30},
            "15 with --eval_steps 30; .* set --save_steps 30 or",
        ),
        ({"save_steps": 15, "eval_steps": 0.5}, "--save_steps is 15 with --eval_steps 0.5; the"),
        ({"save_steps": 0.3, "eval_steps": 0.1}, None),
        ({"save_steps": 30, "eval_steps": 10}, None),
    ],
)
def test_what_is_saved_is_judged_when_the_best_is_to_be_picked(settings, words, tmp_path):
    settings |= {"output_dir": str(tmp_path), "eval_strategy": "steps", "save_strategy": "steps"}
    if words:
        with pytest.raises(UserError, match=words):
            TrainArguments(**settings)
        settings["load_best_model_at_end"] = False
    TrainArguments(**settings)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--optim", "adamw_anyprecision"], "--optim adamw_anyprecision cannot be used: Please"),
        (["--adam_beta1", "2"], "--optim adamw_torch_fused cannot be used: Invalid beta"),
        (
            ["--lr_scheduler_type", "warmup_stable_decay"],
            "warmup_stable_decay with --lr_scheduler_kwargs {} cannot be used: .*num_decay_steps",
        ),
        (["--fsdp", "full_shard"], "cannot be used: Using fsdp only works in distributed training"),
    ],
)
def test_what_a_library_refuses_is_told_in_its_words(
    flags, words, genre_dataset, short_start, tmp_path
):
    with pytest.raises(UserError, match=words):
        run_training(short_start, genre_dataset, tmp_path / "run", *flags)


@pytest.mark.parametrize(
    "setting",
    ['{"even_batches": false}', '{"split_batches": true}', '{"dispatch_batches": true}'],
)
def test_processes_are_dealt_equally_many_batches(
    setting, genre_dataset, short_start, tmp_path, monkeypatch
):
    flags = ["--accelerator_config", setting, "--max_steps", "1"]
    run_training(short_start, genre_dataset, tmp_path / "one", *flags)
    monkeypatch.setattr(TrainArguments, "world_size", property(lambda self: 2))
    with pytest.raises(UserError, match="leave them as they are"):
        run_training(short_start, genre_dataset, tmp_path / "two", *flags)


def test_agreement_beyond_chance_needs_two_genres(genre_dataset, short_start, tmp_path):
    data = shutil.copytree(genre_dataset, tmp_path / "data")
    table = data / "validation/metadata.parquet"
    rows = Dataset.from_parquet(str(table), cache_dir=str(tmp_path / "cache"))
    rows.select(range(4)).to_parquet(table)
    flags = ["--metric_for_best_model", "song_cohen_kappa"]
    with pytest.raises(UserError, match="needs two genres: the validation split has clips of one"):
        run_training(short_start, data, tmp_path / "run", *flags)


def test_the_metrics_that_may_pick_the_best_are_those_of_evaluation(tmp_path):
    scores = score(np.eye(2), np.arange(2), ["rock", "jazz"])
    assert {name for name, value in scores.items() if isinstance(value, float)} == set(SCORES)
    lower = ("loss", "song_log_loss", "clip_ece")
    for name in (*lower, "song_macro_f1"):
        for spelt in (name, f"eval_{name}"):  # as the Trainer's log has it
            args = TrainArguments(output_dir=str(tmp_path), metric_for_best_model=spelt)
            assert args.metric_for_best_model == name
            assert args.greater_is_better == (name not in lower)


@pytest.mark.parametrize("schedule", ["reduce_lr_on_plateau", "greedy"])
def test_a_schedule_that_follows_the_metric_knows_which_way_is_better(schedule, make_trainer):
    """One that does not lowers the rate as the score rises."""
    one = nn.Parameter(torch.zeros(1))
    for metric, scores in (("song_macro_f1", (0.1, 0.2, 0.3)), ("song_ece", (0.3, 0.2, 0.1))):
        for order, falls in ((scores, False), (scores[::-1], True)):
            told = {"lr_scheduler_type": schedule, "lr_scheduler_kwargs": '{"patience": 0}'}
            trainer = make_trainer(metric_for_best_model=metric, **told)
            scheduler = trainer.create_scheduler(10, torch.optim.SGD([one], lr=0.01))
            for value in order:
                scheduler.step(value)
            assert (scheduler.optimizer.param_groups[0]["lr"] < 0.01) == falls
    told["lr_scheduler_kwargs"] = {"mode": "min"}
    assert make_trainer(**told).args.lr_scheduler_kwargs == {"mode": "min"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("trackio", "which is not installed; install it with pip install trackio, or"),
        ("mlflow", "which is not installed; install it, or"),
        ("prints", "expected tensorboard, trac"),
    ],
)
def test_a_logger_that_is_not_there_is_named(name, words, monkeypatch):
    monkeypatch.setattr(
        "genreast.training.recipe_checks.get_available_reporting_integrations", list
    )
    with pytest.raises(UserError, match=f"--report_to is '{name}'[,;] {words}"):
        TrainArguments(report_to=[name])
