"""Train under FSDP2 on a CPU, then once more from a checkpoint of the first run.

accelerate launch --config_file CONFIG tests/fsdp_on_cpu.py START DATASET OUTPUT

accelerate shards on accelerators alone and would take DistributedDataParallel here; told that the
processes are several GPUs', it shards over gloo. The rest is what a GPU's run goes through.
"""

import sys
from pathlib import Path

from accelerate.state import PartialState
from accelerate.utils import DistributedType

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.conftest import run_training

# Augmentation draws for each process: without it one process trains the same.
FLAGS = ["--num_train_epochs", "3", "--average_checkpoints", "3", "--mixup_alpha", "0"]
FLAGS += ["--mask_time_frames", "0", "--mask_mel_bins", "0", "--time_roll", "false"]
FLAGS += ["--gain_db", "0"]


start_processes = PartialState.__init__


def as_gpus(self, *args, **options) -> None:
    start_processes(self, *args, **options)
    if self.distributed_type == DistributedType.MULTI_CPU:
        self.distributed_type = DistributedType.MULTI_GPU


def main(start: str, dataset: str, output: str) -> None:
    PartialState.__init__ = as_gpus
    flags = [*FLAGS, "--per_device_train_batch_size", "4"]
    run_training(start, dataset, f"{output}/whole", *flags)
    resume = ["--resume_from_checkpoint", f"{output}/whole/checkpoint-8"]
    run_training(start, dataset, f"{output}/resumed", *flags, *resume)
    PartialState().wait_for_everyone()
    PartialState().destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
