"""The memory told before training is what torch then takes."""

import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch
from conftest import ROOT

from genreast import last_layer
from genreast.training.augment import patchout
from genreast.training.batches import collate
from genreast.training.memory import saved_bytes, training_memory
from genreast.training.model import freeze_body, from_scratch
from genreast.training.recipe import TrainArguments

BATCH = 2


def bytes_torch_saves(model, share: float, half: bool) -> int:
    """Storage that autograd keeps for a backward pass, each once, without weights or copies."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    shapes = {shape for p in model.parameters() for shape in (p.shape, p.shape[::-1])}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and tensor.shape not in shapes:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that no address recurs
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    features = torch.randn(BATCH, model.config.max_length, 128)
    autocast = torch.autocast("cpu", torch.bfloat16) if half else nullcontext()
    with hooks, patchout(model, share, "unstructured", torch.Generator()), autocast:
        model(input_values=features)
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("attention", "share"), [("sdpa", 0), ("sdpa", 0.5), ("eager", 0)])
def test_what_is_kept_for_the_backward_pass_is_what_torch_saves(
    attention, share, half, checkpointing
):
    model = from_scratch("tiny", max_length=512, attn_implementation=attention).train()
    last_layer.use(model)
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    tokens = 2 + round(8 * 32 * (1 - share))
    told = BATCH * saved_bytes(model.config, tokens, half, checkpointing)
    assert told == pytest.approx(bytes_torch_saves(model, share, half), rel=0.05)


def told_of(model, folder, shards: int = 1, **settings) -> float:
    """Bytes that are told of a model with its optimizer."""
    args = TrainArguments(output_dir=str(folder), **settings)
    return training_memory(model, args, shards).model


def test_the_copies_of_weights_that_autocast_keeps_are_counted(tmp_path):
    model = from_scratch("tiny", max_length=512).train()
    shapes = {p.shape for p in model.parameters()} | {p.shape[::-1] for p in model.parameters()}
    kept = {}

    def pack(tensor):
        if tensor.dtype == torch.bfloat16 and tensor.shape in shapes:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16):
        model(input_values=torch.randn(BATCH, 512, 128))
    copies = told_of(model, tmp_path, bf16=True) - told_of(model, tmp_path, bf16=False)
    assert copies == pytest.approx(sum(size for size, _ in kept.values()), rel=0.05)


@pytest.fixture
def alone():
    """A process group of this process alone."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_the_buckets_that_processes_exchange_gradients_in_are_counted(alone, tmp_path, monkeypatch):
    model = from_scratch("tiny", max_length=160).train()
    buckets = []

    def exchange(_, bucket):
        buckets.append(bucket.buffer())
        future = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future

    parallel = torch.nn.parallel.DistributedDataParallel(model)
    parallel.register_comm_hook(None, exchange)
    parallel(input_values=torch.randn(BATCH, 160, 128)).logits.sum().backward()
    held = {buffer.untyped_storage().data_ptr() for buffer in buckets}
    assert not held & {p.grad.untyped_storage().data_ptr() for p in model.parameters()}
    one = told_of(model, tmp_path, bf16=False)
    monkeypatch.setattr(TrainArguments, "world_size", 2)
    two = told_of(model, tmp_path, bf16=False)
    assert two - one == sum(buffer.nbytes for buffer in buckets)
    assert told_of(model, tmp_path, shards=2, bf16=False) == two / 2


def test_a_frozen_body_keeps_nothing(tmp_path):
    model = from_scratch("tiny", max_length=512).train()
    args = TrainArguments(output_dir=str(tmp_path), bf16=False)
    whole = training_memory(model, args)
    freeze_body(model)
    assert bytes_torch_saves(model, 0, False) < 1e5
    args.freeze = "body"
    frozen = training_memory(model, args)
    weights = sum(4 * p.numel() for p in model.parameters())
    assert whole.model == 4 * weights and weights <= frozen.model < 1.01 * weights
    assert frozen.activations < whole.activations / 2


def test_a_larger_batch_in_evaluation_is_what_is_told_of(tmp_path):
    model = from_scratch("tiny", max_length=512)
    sizes = {"per_device_train_batch_size": 2, "patchout": 0.5}

    def told(evaluated: int):
        args = TrainArguments(
            output_dir=str(tmp_path), bf16=False, per_device_eval_batch_size=evaluated, **sizes
        )
        return training_memory(model, args)

    small, large, larger = told(2), told(64), told(128)
    assert "activations of 2 clips " in str(small)
    assert "activations of 64 clips in evaluation" in str(large)
    assert small.activations < large.activations == larger.activations / 2
    assert small.model == large.model


def test_evaluation_hears_no_more_windows_at_once_than_it_has_clips_a_batch(
    make_trainer,
):
    sounds = [torch.randn(samples, generator=torch.manual_seed(0)) for samples in (90_000, 16_000)]
    batch = collate([{"waveform": each, "label": 0, "index": 0} for each in sounds])
    found = {}
    for size in (2, 16):
        trainer = make_trainer(per_device_eval_batch_size=size)
        heard = []
        trainer.model.register_forward_pre_hook(
            lambda _, words, named, heard=heard: heard.append(len(named["input_values"])),
            with_kwargs=True,
        )
        found[size] = trainer.prediction_step(trainer.model, batch, False)[1], heard
    (logits, heard), (expected, at_once) = found.values()
    assert heard == [2, 2, 1] and at_once == [5]
    torch.testing.assert_close(logits, expected)


PEAK = """
import gc, sys, torch
from genreast import last_layer
from genreast.training.augment import patchout
from genreast.training.memory import training_memory
from genreast.training.model import from_scratch
from genreast.training.recipe import TrainArguments

def read(key):
    with open("/proc/self/status") as file:
        return 1024 * int(next(line for line in file if line.startswith(key)).split()[1])

def step(model, optimizer, batch):
    model(input_values=torch.randn(batch, 512, 128)).logits.square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()

def fresh():
    model = from_scratch("tiny", max_length=512).train()
    last_layer.use(model)
    return model, torch.optim.AdamW(model.parameters())

step(*fresh(), 1)  # what torch sets up once
gc.collect()
before = read("VmRSS")
model, optimizer = fresh()
step(model, optimizer, 24)
args = TrainArguments(output_dir=sys.argv[1], per_device_train_batch_size=24, bf16=False)
told = training_memory(model, args)
print((told.model + told.activations) / (read("VmHWM") - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_real_steps_memory_is_what_was_told(tmp_path):
    words = [sys.executable, "-c", PEAK, str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 0.7 < float(done.stdout) < 1.5
