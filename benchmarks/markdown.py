"""Result files in, Markdown tables between a document's markers out. Needs the standard library."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
QUICK = RESULTS / "quick"
MARKED = re.compile(r"(<!-- table:([\w-]+) -->\n).*?(<!-- /table -->)", re.DOTALL)
Results = dict[str, dict[str, Any]]


def read_results(folder: Path = RESULTS) -> Results:
    """Every result file by its name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def write(path: Path, tables: dict[str, Callable[[Results], str]], results: Results) -> None:
    """Fill a document's marked tables, in place at once."""
    part = path.with_name(path.name + ".part")
    part.write_text(fill(path.read_text(encoding="utf-8"), tables, results), encoding="utf-8")
    os.replace(part, path)


def fill(text: str, tables: dict[str, Callable[[Results], str]], results: Results) -> str:
    """A document with what stands between its markers rendered anew.

    Raises ValueError at a marker that names no table.
    """

    def replace(match: re.Match) -> str:
        if match[2] not in tables:
            raise ValueError(f"no table is named '{match[2]}'; known: {', '.join(tables)}")
        return match[1] + tables[match[2]](results) + match[3]

    return MARKED.sub(replace, text)


def markdown(heads: list[str], rows: list[list[str]], *measured: dict | None) -> str:
    """A Markdown table and where its results were measured; nothing without rows."""
    if not rows:
        return ""
    lines = [heads, ["---"] * len(heads), *rows]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    sources = "<br>".join(source(result) for result in measured if result)
    return f"\n{table}\n\n" + (f"<sub>{sources}</sub>\n\n" if sources else "")


def source(result: dict) -> str:
    """The machine, commits and command of a result; its parts may be measured one by one."""
    measured = [result, *(part for part in result.values() if isinstance(part, dict))]
    processors = " and ".join(dict.fromkeys(one["cpu"] for one in measured if "cpu" in one))
    place = result.get("gpu") or f"{result.get('cores')} cores of {processors}"
    commits = dict.fromkeys(one["commit"] for one in measured if "commit" in one)
    return f"{place}; commit {', '.join(commits)}; `{result.get('command')}`"


def figure(value: float) -> str:
    """Three significant digits."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def spread(found: dict) -> str:
    """A median, and the least and most where it was measured more than once."""
    return between(found["median"], found["values"])


def between(middle: float, values: list[float]) -> str:
    """A value, and the least and most of those it stands for, where there are several."""
    if min(values) == max(values):
        return figure(middle)
    return f"{figure(middle)} ({figure(min(values))} to {figure(max(values))})"


def percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"
