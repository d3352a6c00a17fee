"""Measure everything, then render the tables.

    python -m benchmarks.run [--quick] [--only features training]

`--quick` takes about ten minutes on two cores, keeps its results apart and prints the tables;
without it the documents' tables are written anew.
"""

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.markdown import QUICK, ROOT

AUDIO = ROOT.parent / "shared" / "audio"
MUSIC = AUDIO / "waivops_mini"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small and short, results kept apart")
    parser.add_argument("--only", nargs="+", help="these benchmarks alone")
    args = parser.parse_args()
    steps = quick_steps() if args.quick else full_steps()
    known = dict.fromkeys(name for name, *_ in steps)
    if unknown := [name for name in args.only or () if name not in known]:
        parser.error(f"not measured here: {', '.join(unknown)}; expected {', '.join(known)}")
    if args.quick and not args.only:
        shutil.rmtree(QUICK, ignore_errors=True)
    failed = []
    for name, *flags in steps:
        if args.only and name not in args.only:
            continue
        words = ["-m", f"benchmarks.{name}", *map(str, flags), *["--quick"] * args.quick]
        start = time.monotonic()
        print(f"$ python {' '.join(words)}", file=sys.stderr, flush=True)
        if subprocess.run([sys.executable, *words], cwd=ROOT, stdout=sys.stderr).returncode:
            failed.append(name)
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    ending = ["--quick"] if args.quick else []
    subprocess.run([sys.executable, "-m", "benchmarks.table", *ending], cwd=ROOT, check=True)
    if failed:
        print(f"failed: {', '.join(failed)}; their messages stand above", file=sys.stderr)
    return 1 if failed else 0


def full_steps() -> list[tuple]:
    """Each benchmark and its flags. A size's growth in songs is measured on short songs."""
    growth = [("prepare", "--songs", n, "--seconds", 30, "--repeat", 1) for n in (50, 200, 1000)]
    return [
        ("features",),
        *real_music("prepare", "--raw", MUSIC, "--repeat", 3),
        ("prepare", "--songs", 20, "--repeat", 3),
        *growth,
        ("update",),
        ("training",),
        ("training", "--base"),
        ("probe",),
        ("streaming",),
        ("prediction",),
        ("duplicates",),
        ("faults",),
        *real_music("quality"),
        *real_music("quality", "--epochs", 10),
        *gpu(),
    ]


def quick_steps() -> list[tuple]:
    """The same questions, small."""
    return [
        ("features",),
        ("prepare", "--songs", 8, "--seconds", 60, "--repeat", 1),
        ("update", "--songs", 8, "--new", 2, "--seconds", 60, "--repeat", 1),
        ("training",),
        ("probe",),
        ("streaming",),
        ("prediction",),
        ("duplicates", "--songs", 250, 500, 1000),
        ("faults", "--kills", 2, "--broken", 16),
        *real_music("quality", "--seconds", 10),
        *gpu(),
    ]


def real_music(*step) -> list[tuple]:
    """A step on the recordings beside the project, where they are."""
    return [step] if Path(MUSIC).is_dir() else []


def gpu() -> list[tuple]:
    """The GPU's benchmarks, where there is one."""
    import torch

    return [("gpu",), ("loading",)] if torch.cuda.is_available() else []


if __name__ == "__main__":
    sys.exit(main())
