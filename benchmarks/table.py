"""Render the documents' tables from benchmarks/results/*.json: no figure is typed by hand.

    python -m benchmarks.table              # writes README.md and the documents in docs/
    python -m benchmarks.table --quick      # prints the tables of the last quick run

A table stands between `<!-- table:NAME -->` and `<!-- /table -->`. One whose results are missing
is left out.
"""

import argparse

from benchmarks import scaling
from benchmarks.growth import exponents
from benchmarks.markdown import (
    QUICK,
    ROOT,
    Results,
    between,
    figure,
    markdown,
    percent,
    read_results,
    spread,
    write,
)
from benchmarks.targets import PREPARED, TARGETS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="print the last quick run's tables")
    if parser.parse_args().quick:
        results = read_results(QUICK)
        print("\n".join(render(results) for render in TABLES.values()))
        return
    results = read_results()
    for document, tables in DOCUMENTS.items():
        write(ROOT / document, tables, results)


def targets(results: Results) -> str:
    """Every target that was measured, met or not."""
    rows = []
    for target in TARGETS:
        measured = target.measured(results)
        if measured is not None:
            sign = "≤" if target.at_most else "≥"
            met = target.met(measured)
            verdict = "met" if met else f"missed: {target.reason(results)}".rstrip(": ")
            value = f"{sign} {target.value:g}{target.unit}"
            rows.append([target.text, value, f"{figure(measured)}{target.unit}", verdict])
    return markdown(["", "target", "measured", ""], rows)


def prepare(results: Results) -> str:
    """Songs a second of each way to prepare a dataset."""
    titles = {
        "original": "the original's way",
        "decoder_alone": "decoding alone, two processes",
        "everything_on": "`prepare_dataset.py`",
        "duplicates_and_statistics_off": "without duplicates and statistics",
        "one_worker": "with one worker",
    }
    names = [name for name in results if name.startswith("prepare-")]
    shown = [name for name in PREPARED if name in names] or names
    rows = [
        [
            name.removeprefix("prepare-").replace("_made_songs", " made songs"),
            titles[way],
            between(
                found["songs_a_second"],
                [results[name]["songs"] / seconds for seconds in found["seconds_spread"]],
            ),
            figure(found["audio_seconds_a_second"]),
            figure(found["times_the_original"]) + "×",
            percent(found["share_of_the_decoder"]),
            f"{found['peak_mb']:.0f} MB",
        ]
        for name in shown
        for way, found in results[name]["ways"].items()
        if "audio_seconds_a_second" in found
    ]
    heads = ["", "songs/s", "audio s/s", "to the original", "of the decoder", "memory"]
    return markdown(["songs", *heads], rows, *(results[name] for name in shown))


def features(results: Results) -> str:
    """Clips a second from waveform to log-mel."""
    found = results.get("features")
    rows = [
        [
            "`ASTFeatureExtractor`" if way == "extractor" else f"ours, {way}",
            spread(one["clips_per_second"]),
            spread(one["times_the_extractor"]) + "×",
        ]
        for way, one in (found or {}).get("ways", {}).items()
    ]
    return markdown(["features", "10 s clips/s", "to the extractor"], rows, found)


def training(results: Results) -> str:
    """Training samples a second, and their share of what the machine can multiply."""
    tables = []
    for found in (results.get("training"), results.get("training-base")):
        rows = [
            [
                size,
                way if way.startswith("recipe") else f"ours, {way}",
                spread(one["samples_per_second"]),
                spread(one["times_the_recipe"]) + "×",
                percent(one.get("share_of_the_matrix_rate")),
            ]
            for size, ways in (found or {}).get("sizes", {}).items()
            for way, one in ways.items()
        ]
        heads = ["model", "", "10 s samples/s", "to the faster recipe", "of the matrix rate"]
        tables.append(markdown(heads, rows, found))
    return "".join(tables)


def probe(results: Results) -> str:
    """Seconds of a linear probe's epochs."""
    found = results.get("probe")
    rows = [
        [
            size,
            f"{figure(one['first_epoch_seconds'])} s",
            f"{spread(one['later_epoch_seconds'])} s",
            f"{spread(one['times_faster'])}×",
        ]
        for size, one in (found or {}).get("sizes", {}).items()
    ]
    heads = ["linear probe", "first epoch, listening included", "each later one", "faster"]
    return markdown(heads, rows, found)


def quality(results: Results) -> str:
    """Macro-F1 after equal seconds of training, and after equal epochs."""
    tables = []
    for result, amount, unit in (
        ("quality", "seconds_of_training", "s of training"),
        ("quality-epochs", "epochs", "epochs"),
    ):
        found = results.get(result) or {"gains": {}}
        rows = [
            [
                name,
                str(len(found["runs"][name])),
                f"{level}s",
                spread(one["recipe"]),
                spread(one["ours"]),
                f"{one['mean_gain_in_points']:+.1f} "
                f"({one['gain_in_points']['spread'][0]:+.1f} to "
                f"{one['gain_in_points']['spread'][1]:+.1f})",
            ]
            for name, levels in found["gains"].items()
            for level, one in levels.items()
        ]
        title = f"after {found.get(amount, 0):g} {unit}"
        heads = [title, "runs", "macro-F1 of", "recipe", "ours", "mean gain in points"]
        tables.append(markdown(heads, rows, found))
    return "".join(tables)


def prediction(results: Results) -> str:
    """Seconds of predicting and evaluating."""
    found = results.get("prediction", {})
    pairs = {
        "one_song": ("one 160 s song, start included", "stock", "stock pipeline"),
        "folder_of_songs": (
            "a folder of songs, five windows of each",
            "original",
            "the original's loop, one window of each",
        ),
        "small_model": (
            "a folder of songs, five windows of each, small model",
            "decoder",
            "decoding whole songs",
        ),
        "evaluation": ("evaluating clips", "course", "the recipe's `evaluate()`"),
    }
    rows = []
    for name, (title, peer, peer_title) in pairs.items():
        if name in found:
            one = found[name]
            cells = [amount(one[way]) for way in ("ours", peer)]
            rows.append([title + vectors(one), cells[0], peer_title, cells[1]])
    if "long_mix" in found:
        mix = found["long_mix"]
        title = f"{mix['hours']:g} h mix, peak memory{vectors(mix)}"
        rows.append([title, f"{figure(mix['peak_gigabytes'])} GB", "", ""])
    rates = found.get("rates", {})
    if "bfloat16" in rates:
        ours, theirs = (f"{figure(rates[kind] / 1e9)} GFLOP/s" for kind in ("bfloat16", "float32"))
        rows.append([f"matrix products in bfloat16{vectors(rates)}", ours, "in float32", theirs])
    return markdown(["", "ours", "instead", ""], rows, found)


def vectors(one: dict) -> str:
    """The vectors of the processor that a part was measured on, where it tells them."""
    _, _, found = one.get("cpu", "").partition(", ")
    return f" ({found})" if found else ""


def amount(one: dict) -> str:
    """A rate where one was measured, else seconds."""
    for key, rate in one.items():
        if key.endswith("_per_second"):
            return f"{figure(rate)} {key.removesuffix('_per_second')}/s"
    return spread(one) + " s"


def growth(results: Results) -> str:
    """How each cost grows with its size."""
    rows = [
        [one.what, " → ".join(f"{size:g}" for size in one.sizes) + f" {one.unit}", f"{one.b:.2f}"]
        for one in exponents(results)
    ]
    return markdown(["cost", "sizes", "exponent (1: linear)"], rows)


def faults(results: Results) -> str:
    """Kills and broken files survived."""
    found = results.get("faults")
    if not found:
        return ""
    kills = {
        "a run": found["kill_test"],
        "an `--update`": found.get("killed_updates"),
    }
    broken = found["broken_files"]
    statuses = ", ".join(
        f"{count} {name.replace('_', ' ')}" for name, count in broken["statuses"].items()
    )
    rows = [
        *(
            [
                f"{what} stopped by `kill -9` at a random moment, then given again",
                f"{one['stopped_midway']}",
                f"{one['byte_identical']} ended with the bytes of one that was not stopped",
            ]
            for what, one in kills.items()
            if one
        ),
        [
            "broken files among sound ones",
            f"{broken['files']}",
            f"{broken['listed']} listed in `songs.csv` ({statuses}), "
            f"{broken['without_reason']} left out without a reason",
        ],
    ]
    return markdown(["", "tried", ""], rows, found)


def gpu(results: Results) -> str:
    """Fine-tuning on a GPU."""
    found = results.get("gpu")
    rows = [
        [
            str(one["batch_size"]),
            one["attention"],
            "yes" if one["compiled"] else "no",
            f"{one['patchout']:g}",
            figure(one["samples_per_second"]),
            percent(one["share_of_the_matrix_rate"]),
            f"{figure(one['peak_gigabytes'])} GB" if "peak_gigabytes" in one else "",
        ]
        for one in (found or {}).get("settings", [])
        if "samples_per_second" in one
    ]
    if rows:
        rate = figure(found["recipe"]["samples_per_second"])
        rows.append([str(found["recipe"]["batch_size"]), "the recipe", "no", "0", rate, "", ""])
    heads = ["batch", "attention", "compiled", "patchout", "10 s samples/s"]
    return markdown([*heads, "of the matrix rate", "memory"], rows, found)


TABLES = {
    "targets": targets,
    "prepare": prepare,
    "features": features,
    "training": training,
    "probe": probe,
    "quality": quality,
    "prediction": prediction,
    "growth": growth,
    "faults": faults,
    "gpu": gpu,
}
DOCUMENTS = {
    "README.md": {"targets": TABLES["targets"]},
    "docs/measured.md": {name: one for name, one in TABLES.items() if name != "targets"},
    "docs/scaling.md": scaling.TABLES,
}


if __name__ == "__main__":
    main()
