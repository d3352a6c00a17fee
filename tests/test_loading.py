"""How many processes decode beside a GPU: as its cores and the memory shared with them allow."""

import math

import pytest
import torch

from genreast.training import loading
from genreast.training.loading import decoding_processes, fitting
from genreast.training.recipe import TrainArguments


@pytest.mark.parametrize(
    ("cores", "batch_bytes", "shared_bytes", "expected"),
    [
        (64, 15e6, math.inf, 8),
        (4, 15e6, math.inf, 3),
        (1, 15e6, math.inf, 0),
        (0, 15e6, math.inf, 0),  # more GPUs than cores
        (16, 15e6, 64 << 20, 1),  # a container's usual
        (16, 15e7, 64 << 20, 0),
    ],
)
def test_what_decodes_beside_a_gpu_fits_its_cores_and_the_memory_shared(
    cores, batch_bytes, shared_bytes, expected
):
    assert fitting(cores, batch_bytes, shared_bytes) == expected


def test_a_trainer_counts_what_may_decode_beside_its_gpu(make_trainer, monkeypatch):
    trainer = make_trainer()
    assert trainer.args.dataloader_num_workers == 0, "a CPU has no cores to spare"
    monkeypatch.setattr(TrainArguments, "device", torch.device("cuda"))
    monkeypatch.setattr(loading, "usable_cores", lambda: 16)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(loading, "shared_memory", lambda: math.inf)
    assert decoding_processes(trainer.args, trainer.train_clips) == 3
    clip = 2 * 16_000 * 4  # bytes of 2 s, in whole seconds
    batches = trainer.args.train_batch_size + trainer.args.eval_batch_size
    monkeypatch.setattr(loading, "shared_memory", lambda: 4 * 3 * batches * clip)
    assert decoding_processes(trainer.args, trainer.train_clips) == 1
