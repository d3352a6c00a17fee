"""What runs is the number format that is told and recorded, whoever asked for it."""

import pytest
import torch

from genreast import pretrained
from genreast.errors import UserError
from genreast.inference import GenreClassifier
from genreast.precision import choose
from genreast.training.progress import summary
from genreast.training.recipe import LAUNCHED_PRECISION, TrainArguments

ABLE = {"avx512_bf16": True}


@pytest.mark.parametrize(
    ("launched", "able", "flags", "expected"),
    [
        (None, {}, {}, "float32"),
        (None, ABLE, {}, "bfloat16"),
        ("no", ABLE, {}, "bfloat16"),  # what accelerate launch passes on where nobody asked
        ("bf16", {}, {}, "bfloat16"),
        ("bf16", ABLE, {"bf16": False}, "float32"),
        ("fp16", {}, {}, "float32"),  # on a CPU accelerate has none
        ("fp16", ABLE, {"bf16": True}, "bfloat16"),
    ],
)
def test_training_runs_in_the_precision_it_tells(
    make_trainer, monkeypatch, launched, able, flags, expected
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    if launched:
        monkeypatch.setenv(LAUNCHED_PRECISION, launched)
    trainer = make_trainer(**({"bf16": None} | flags))
    assert f", {expected}, 1 process" in summary(trainer)
    kinds = {"no": "float32", "bf16": "bfloat16"}
    assert kinds[trainer.accelerator.mixed_precision] == expected
    assert trainer.args.bf16 == (expected == "bfloat16")


def test_float16_is_refused_of_a_cpu():
    with pytest.raises(UserError, match="--fp16 is true, but a CPU"):
        TrainArguments(fp16=True, use_cpu=True)


def test_a_precision_no_model_trains_in_is_refused(monkeypatch):
    monkeypatch.setenv(LAUNCHED_PRECISION, "fp8")
    with pytest.raises(UserError, match="mixed_precision is 'fp8'; expected no, fp16 or bf16"):
        TrainArguments()


@pytest.mark.parametrize(
    ("precision", "able", "told"),
    [("bfloat16", {}, 1), ("bfloat16", ABLE, 0), ("float32", {}, 0), ("auto", {}, 0)],
)
def test_a_cpu_that_imitates_bfloat16_is_told_of(tiny_model, monkeypatch, precision, able, told):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    remarks = GenreClassifier.from_pretrained(tiny_model, "cpu", precision).remarks
    assert len(remarks) == told and all("imitates bfloat16" in remark for remark in remarks)


@pytest.mark.parametrize(("ability", "expected"), [("avx512_bf16", torch.bfloat16), ("", None)])
def test_auto_is_bfloat16_where_the_cpu_multiplies_it_but_for_very_small_models(
    tiny_model, monkeypatch, ability, expected
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {ability: True})
    small, _ = pretrained.load(str(tiny_model))
    larger = torch.nn.Linear(1000, 1000, device="meta")
    cpu = torch.device("cpu")
    assert choose("auto", small, cpu) == torch.float32
    assert choose("auto", larger, cpu) == (expected or torch.float32)
