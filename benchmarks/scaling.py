"""What 1,000, 100,000 and 10 million songs cost, from the measured rates: docs/scaling.md's tables.

`python -m benchmarks.table` writes them. A song is three minutes. Costs are the measured ones times
the size, raised to the measured exponent where that is not 1; a row without a measurement is left
out.
"""

import math

from benchmarks.growth import duplicates
from benchmarks.markdown import Results, figure, markdown

SIZES = (1_000, 100_000, 10_000_000)
SONG_SECONDS = 180
CLIP_SECONDS = 10
CLIPS_A_SONG = SONG_SECONDS // CLIP_SECONDS
GPUS = (1, 8, 64)
WORKERS = 2  # of the measured preparation
CORES_A_HOST = 64


def preparing(results: Results) -> str:
    """Core-hours of preparing, hours on 64 cores, and what the search for copies takes."""
    core_seconds = core_seconds_a_song(results)
    if core_seconds is None:
        return ""
    rows = []
    for size in SIZES:
        hours = size * core_seconds / 3600
        search, memory = search_hours(results, size), search_bytes(results, size)
        rows.append(
            [
                f"{size:,}",
                f"{size * SONG_SECONDS / 3600:,.0f} h",
                number(hours),
                duration(hours / CORES_A_HOST),
                "" if search is None else duration(search),
                "" if memory is None else size_of(memory),
            ]
        )
    heads = ["songs", "audio", "core-hours", f"on {CORES_A_HOST} cores"]
    return markdown([*heads, "then the search for copies, one core", "its memory"], rows)


def storing(results: Results) -> str:
    """Bytes and files of the prepared dataset."""
    prepared = results.get("quality", {}).get("prepared_waivops")
    if not prepared:
        return ""
    a_second = prepared["bytes"] / prepared["seconds_of_audio"]
    rows = [
        [f"{size:,}", f"{size * CLIPS_A_SONG:,}", size_of(size * SONG_SECONDS * a_second)]
        for size in SIZES
    ]
    return markdown(["songs", "clips", "FLAC at 16 kHz"], rows, results["quality"])


def update(results: Results) -> str:
    """Seconds of a dataset that takes its clips from an earlier one, beside one made anew."""
    found = results.get("update")
    titles = {"anew": "prepared anew", "update": "`--update`", "other_splits": "`--clips_from`"}
    if not found:
        return ""
    new, songs = found["new_songs"], found["songs"] + found["new_songs"]
    decoded = {"anew": songs, "update": new, "other_splits": 0}
    rows = [
        [
            title,
            f"{decoded[way]} of {songs}",
            figure(one["median"]) + " s",
            figure(one["times_anew"]),
        ]
        for way, title in titles.items()
        for one in [found["ways"][way]]
    ]
    return markdown(["", "songs decoded", "seconds, start and all", "times as fast"], rows, found)


def training(results: Results) -> str:
    """Hours of one epoch over all clips, on this CPU and on GPUs that share it evenly."""
    rows = []
    cpu = [results.get(name, {}).get("sizes", {}) for name in ("training", "training-base")]
    for name, ways in (cpu[0] | cpu[1]).items():
        for way in ("bfloat16", "bfloat16, patchout 0.5"):
            if way in ways:
                rate = ways[way]["samples_per_second"]["median"]
                rows += epochs(f"{name}, this CPU, {way}", rate, (1,))
    gpu = results.get("gpu", {})
    for share, rate in gpu.get("best_samples_per_second", {}).items():
        rows += epochs(f"{gpu['size']}, {gpu['gpu']}, patchout {share}", rate, GPUS)
    return markdown(["model", "devices", *(f"{size:,} songs" for size in SIZES)], rows)


def feeding(results: Results) -> str:
    """What one GPU asks of disks and the network between GPUs."""
    gpu, prepared = results.get("gpu", {}), results.get("quality", {}).get("prepared_waivops")
    rows = []
    for share, rate in gpu.get("best_samples_per_second", {}).items():
        row = [f"patchout {share}", figure(rate)]
        read = ""
        if prepared:
            clip = prepared["bytes"] / prepared["seconds_of_audio"] * CLIP_SECONDS
            read = size_of(rate * clip) + "/s"
        batch = best_batch(gpu, share)
        steps = rate / batch
        # A ring all-reduce sends and receives twice the gradients, 4 bytes a parameter.
        exchange = size_of(2 * 4 * gpu["parameters"] * steps) + "/s"
        rows.append([*row, read, exchange])
    heads = ["", "samples/s", "read", "gradients exchanged"]
    return markdown(heads, rows, gpu or None)


def loading(results: Results) -> str:
    """Clips a second that `train_hf.py` hears on one GPU, by who decodes them."""
    found = results.get("loading")
    rows = [
        [
            size,
            figure(one["between_the_steps"]),
            figure(one["beside_them"]),
            str(one["processes"]),
        ]
        for size, one in (found or {}).get("sizes", {}).items()
    ]
    heads = ["model", "decoding between the steps, clips/s", "beside them", "processes"]
    return markdown(heads, rows, found)


def streaming(results: Results) -> str:
    """Memory and speed of a process that reads shards, for each size of its buffer."""
    found = results.get("streaming")
    rows = []
    for buffer, one in (found or {}).get("buffers", {}).items():
        quarters = one["gigabytes_above_the_start"]
        memory = f"{figure(quarters[0])} GB → {figure(quarters[-1])} GB"
        rows.append([f"{int(buffer):,} clips", memory, figure(one["clips_per_second"])])
    heads = ["`--shuffle_buffer`", "memory, first quarter of an epoch → last", "clips read/s"]
    return markdown(heads, rows, found)


def mixing(results: Results) -> str:
    """How many genres a batch holds, by the order of the shards."""
    found = results.get("streaming")
    if not found:
        return ""
    rows = [[name, figure(genres)] for name, genres in found["genres_in_a_batch"].items()]
    heads = ["shards", f"of {found['genres']} genres, in a batch of {found['batch_size']}"]
    return markdown(heads, rows, found)


def epochs(name: str, samples_per_second: float, devices: tuple[int, ...]) -> list[list[str]]:
    """A row for each number of devices: hours of an epoch at each size."""
    return [
        [
            name,
            str(count),
            *(duration(size * CLIPS_A_SONG / samples_per_second / count / 3600) for size in SIZES),
        ]
        for count in devices
    ]


def core_seconds_a_song(results: Results) -> float | None:
    """Of preparing a three-minute song, everything on."""
    found = results.get("prepare-20_made_songs") or results.get("prepare-waivops_mini")
    if not found or "audio_seconds" not in found:
        return None
    taken = found["ways"]["everything_on"]["seconds"]
    return WORKERS * taken / found["audio_seconds"] * SONG_SECONDS


def search_hours(results: Results, size: int) -> float | None:
    """Of searching for copies among `size` songs, from the largest measured and the exponent."""
    growth = duplicates(results)
    if not growth.sizes:
        return None
    return growth.costs[-1] * (size / growth.sizes[-1]) ** growth.b / 3600


def search_bytes(results: Results, size: int) -> float | None:
    """Memory of that search: fingerprints and their index grow with the songs."""
    sizes = results.get("duplicates", {}).get("sizes", [])
    if not sizes or "peak_gigabytes" not in sizes[-1]:
        return None
    return sizes[-1]["peak_gigabytes"] * 1e9 / sizes[-1]["songs"] * size


def best_batch(gpu: dict, share: str) -> int:
    """The batch size behind the best rate at a share of patches left out."""
    rate = gpu["best_samples_per_second"][share]
    return next(
        row["batch_size"]
        for row in gpu["settings"]
        if row.get("samples_per_second") == rate and f"{row['patchout']:g}" == share
    )


def number(value: float) -> str:
    """Two significant digits, with thousands marked."""
    if value >= 100:
        digits = len(str(int(value))) - 2
        return f"{round(value / 10**digits) * 10**digits:,}"
    return f"{value:.2g}"


def duration(hours: float) -> str:
    """Hours in the unit that suits them: seconds, minutes or hours."""
    for unit, length in (("h", 1), ("min", 1 / 60)):
        if hours >= length:
            return f"{number(hours / length)} {unit}"
    return f"{number(hours * 3600)} s"


def size_of(count: float) -> str:
    """Bytes in the unit that suits them."""
    power = min(max(int(math.log10(max(count, 1)) // 3), 0), 5)
    return f"{count / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB', 'PB')[power]}"


TABLES = {
    "preparing": preparing,
    "storing": storing,
    "update": update,
    "training": training,
    "feeding": feeding,
    "loading": loading,
    "streaming": streaming,
    "mixing": mixing,
}
