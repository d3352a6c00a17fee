"""What settings of training may be, and what each fault is told as."""

import dataclasses
import math
import os
from fractions import Fraction

from transformers import TrainingArguments
from transformers.integrations.integration_utils import (
    INTEGRATION_TO_CALLBACK,
    get_available_reporting_integrations,
)
from transformers.utils import is_flash_attn_2_available

from genreast.config import Faults, default_of

SIZES = ("tiny", "small", "base")
LOGGERS = ("tensorboard", "trackio", "wandb")
LOWER = ("log_loss", "ece")  # the lower, the better
SCORES = (
    *("accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1"),
    *("mean_average_precision", "top_3_accuracy", "cohen_kappa", *LOWER),
)
CHOICES = {
    "from_scratch": (None, *SIZES),
    "freeze": ("none", "body"),
    "attn_implementation": ("eager", "sdpa", "flash_attention_2"),
    "count_by": ("clip", "song"),
    "class_weights": ("none", "inverse", "effective"),
    "loss": ("cross_entropy", "focal", "logit_adjusted"),
    "patchout_kind": ("unstructured", "time", "frequency"),
}
LIMITS = {  # the least and the most; None of a setting is its default
    "window_seconds": (1, math.inf),
    "time_stride": (1, math.inf),
    "frequency_stride": (1, math.inf),
    "shuffle_buffer": (1, math.inf),
    "sampling_exponent": (0, 1),
    "effective_beta": (0, 0.999999),
    "focal_gamma": (0, math.inf),
    "logit_adjustment": (0, math.inf),
    "mask_time_frames": (0, math.inf),
    "mask_mel_bins": (0, math.inf),
    "mixup_alpha": (0, 100),
    "mixup_probability": (0, 1),
    "gain_db": (0, 60),
    "patchout": (0, 0.9),
    "layer_decay": (0.1, 1),
    "average_checkpoints": (0, math.inf),
    "early_stopping_patience": (0, math.inf),
    "learning_rate": (0, 1),
    "num_train_epochs": (0, math.inf),
    "per_device_train_batch_size": (1, math.inf),
    "per_device_eval_batch_size": (1, math.inf),
    "gradient_accumulation_steps": (1, math.inf),
    "eval_accumulation_steps": (1, math.inf),
    "warmup_steps": (0, math.inf),
    "weight_decay": (0, math.inf),
    "label_smoothing_factor": (0, 1),
    "dataloader_num_workers": (0, math.inf),
    "seed": (0, 2**32 - 1),
}
NO_EFFECT = "it has no effect here"
PUBLISHED = "push_to_hub.py publishes a model, and checks what goes out"
REFUSED = {  # options of the Trainer that must be left at our defaults, and why
    "do_train": "evaluate_model.py measures a model as it is",
    "do_predict": "evaluate_model.py measures a model, predict_song.py uses it",
    "remove_unused_columns": "it would drop the waveforms",
    "bf16_full_eval": "it would turn the published weights to bfloat16",
    "fp16_full_eval": "it would turn the published weights to float16",
    "batch_eval_metrics": "songs are judged over all of their clips",
    "eval_do_concat_batches": "songs are judged over all of their clips",
    "include_for_metrics": "the metrics need the logits alone",
    "data_seed": "--seed decides the clips' order too",
    "train_sampling_strategy": "what is drawn follows --sampling_exponent and --seed",
    "average_tokens_across_devices": "losses are divided by the clips of all processes",
    "use_liger_kernel": "it has no kernels for this model",
    "enable_jit_checkpoint": "a run that it stops ends as a finished one; save with --save_strategy"
    " steps --save_steps N, stop the run, go on with --resume_from_checkpoint last",
    "deepspeed": "shard with configs/accelerate/fsdp.yaml",
    "label_names": NO_EFFECT,
    "length_column_name": NO_EFFECT,
    "liger_kernel_config": NO_EFFECT,
    "prediction_loss_only": NO_EFFECT,
    "use_cache": NO_EFFECT,
    "push_to_hub": PUBLISHED,
    "hub_model_id": PUBLISHED,
    "hub_strategy": PUBLISHED,
    "hub_always_push": PUBLISHED,
    "hub_revision": PUBLISHED,
}
LAUNCHED = ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM")  # set by its launcher
UNLISTED = (  # left out of --help as of no use; those after hub_token are taken all the same
    *REFUSED,
    "hub_token",
    *("do_eval", "local_rank", "include_num_input_tokens_seen"),
    *("gradient_checkpointing", "gradient_checkpointing_kwargs"),
)


def check(args: TrainingArguments) -> None:
    """Raise one UserError that lists every fault of a `TrainArguments`' values."""
    faults = Faults()
    _check_values(args, faults)
    _check_run(args, faults)
    _check_best(args, faults)
    _check_loggers(args, faults)
    _check_trainer(args, faults)
    faults.report()


def lower_is_better(metric: str) -> bool:
    """Whether a metric, named as `metric_for_best_model` is, is better the lower it is."""
    return metric == "loss" or metric.partition("_")[2] in LOWER


def _check_values(args: TrainingArguments, faults: Faults) -> None:
    for name, choices in CHOICES.items():
        value = getattr(args, name)
        expected = ", ".join(filter(None, choices))
        faults.unless(value in choices, f"--{name} is '{value}'; expected one of {expected}")
    for name, (least, most) in LIMITS.items():
        value = getattr(args, name)
        limit = f"{least:g} or more" if most == math.inf else f"{least:g} to {most:.10g}"
        fits = value is None or (math.isfinite(value) and least <= value <= most)
        faults.unless(fits, f"--{name} is {value}; expected {limit}")
    faults.unless(
        args.num_train_epochs != 0 or args.max_steps > 0,
        "--num_train_epochs is 0, which trains nothing; expected more",
    )
    faults.unless(
        args.max_steps != 0,
        "--max_steps is 0, which trains nothing; expected more, or -1: as many as the epochs take",
    )
    faults.unless_utf8(args, "output_dir", "dataset")
    faults.unless(
        args.attn_implementation != "flash_attention_2" or is_flash_attn_2_available(),
        "--attn_implementation is 'flash_attention_2', which needs a GPU and the package "
        "flash-attn; use sdpa, torch's own",
    )
    options = args.lr_scheduler_kwargs
    faults.unless(
        not isinstance(options, str) or options.startswith("{"),
        f"--lr_scheduler_kwargs is '{options}'; expected options by name, such as "
        """'{"patience": 2}'""",
    )
    faults.unless(
        args.average_checkpoints != 1,
        "--average_checkpoints is 1, which averages nothing; expected 2 or more, or 0",
    )


def _check_run(args: TrainingArguments, faults: Faults) -> None:
    """Whether settings fit each other."""
    for name, needed in (
        ("early_stopping_patience", "eval_strategy"),
        ("average_checkpoints", "save_strategy"),
    ):
        faults.unless(
            not getattr(args, name) or _text(args, needed) != "no",
            f"--{name} is {getattr(args, name)} with --{needed} no; set that to epoch or steps",
        )
    faults.unless(
        _text(args, "save_strategy") != "best" or _text(args, "eval_strategy") != "no",
        "--save_strategy is best with --eval_strategy no, which finds none; set that to epoch or "
        "steps",
    )
    faults.unless(
        args.from_scratch is None or args.freeze == "none",
        f"--freeze is {args.freeze} with --from_scratch {args.from_scratch}; a head learns nothing "
        "from a body of random weights: leave one out",
    )
    faults.unless(
        not (args.average_checkpoints and args.save_only_model),
        "--save_only_model is true; --average_checkpoints needs whole checkpoints: leave it false",
    )
    faults.unless(
        not (args.streaming and args.dataloader_drop_last),
        "--dataloader_drop_last is true; --streaming hears every clip: leave it false",
    )
    for name in ("persistent_workers", "prefetch_factor", "multiprocessing_context"):
        name = f"dataloader_{name}"
        value = getattr(args, name)
        faults.unless(
            args.dataloader_num_workers or not value,
            f"--{name} is {value}; it takes --dataloader_num_workers above 0",
        )


def _check_best(args: TrainingArguments, faults: Faults) -> None:
    """Whether evaluation gives the metric that picks the best checkpoint, and its direction."""
    if args.load_best_model_at_end:
        for name in ("eval_strategy", "save_strategy"):
            faults.unless(
                _text(args, name) != "no",
                f"--{name} is no; the best checkpoint is picked by it: set epoch, or steps for both"
                " of them, or --load_best_model_at_end false",
            )
        judged, saved = (_text(args, name) for name in ("eval_strategy", "save_strategy"))
        faults.unless(
            saved in (judged, "best", "no") or judged == "no",
            f"--save_strategy is {saved} with --eval_strategy {judged}; the best checkpoint is one "
            "that is judged when it is saved: set both alike, or --load_best_model_at_end false",
        )
        if judged == saved == "steps":
            _check_steps(args, faults)
    metric = args.metric_for_best_model
    level, _, name = metric.partition("_")
    faults.unless(
        metric == "loss" or (level in ("clip", "song") and name in SCORES),
        f"--metric_for_best_model is '{metric}'; expected loss, or clip_ or song_ and one of "
        f"{', '.join(SCORES)}",
    )
    lower = lower_is_better(metric)
    faults.unless(
        args.greater_is_better != lower,
        f"--metric_for_best_model is '{metric}', better the {'lower' if lower else 'higher'}; "
        f"set --greater_is_better {str(not lower).lower()}",
    )


def _check_steps(args: TrainingArguments, faults: Faults) -> None:
    """Whether each checkpoint is saved at a step that is judged."""
    judged, saved = args.eval_steps or args.logging_steps, args.save_steps
    if not (0 < judged < math.inf and 0 < saved < math.inf):
        return  # the Trainer's to take or to refuse
    alike = (judged < 1) == (saved < 1)  # both numbers of steps, or both shares of all
    multiple = Fraction(str(saved)) % Fraction(str(judged)) == 0  # 0.3 of 0.1, as no float is
    default = "" if args.eval_steps else " (--logging_steps)"
    faults.unless(
        alike and multiple,
        f"--save_steps is {saved:g} with --eval_steps {judged:g}{default}; the best checkpoint is"
        f" one that is judged when it is saved: set --save_steps {judged:g} or a multiple of it, or"
        " --load_best_model_at_end false",
    )


def _check_loggers(args: TrainingArguments, faults: Faults) -> None:
    for name in [args.report_to] if isinstance(args.report_to, str) else args.report_to or []:
        faults.unless(
            name in ("none", "all", *INTEGRATION_TO_CALLBACK),
            f"--report_to is '{name}'; expected {', '.join(LOGGERS)} or none",
        )
        there = ("flyte", *get_available_reporting_integrations())  # that one tells itself
        how = f" with pip install {name}" * (name in LOGGERS)
        faults.unless(
            name not in INTEGRATION_TO_CALLBACK or name in there,
            f"--report_to is '{name}', which is not installed; install it{how}, or report to none",
        )


def _check_trainer(args: TrainingArguments, faults: Faults) -> None:
    """Whether options of the Trainer are left as they must be here."""
    for item in dataclasses.fields(args):
        if item.name not in REFUSED:
            continue
        value = _text(args, item.name)
        faults.unless(
            value == str(default_of(item)),
            f"--{item.name} is {value}; leave it out: {REFUSED[item.name]}",
        )
    for name in LAUNCHED:
        faults.unless(
            os.environ.get(name, "").lower() != "true",
            f"{name} is true, as accelerate's config asks; take it out there, or unset it: "
            f"{REFUSED['deepspeed']}",
        )
    faults.unless(
        args.hub_token is None,
        "--hub_token is set; it would be saved in a file. Set HF_TOKEN or log in instead",
    )


def _text(args: TrainingArguments, name: str) -> str:
    """A setting's text, whether or not the Trainer has made it one of its enumerations."""
    value = getattr(args, name)
    return str(getattr(value, "value", value))
