"""Mean and standard deviation of features, by which a model's input is normalised."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # who merges statistics need not load it
    import torch

STATS_FILE = "feature_stats.json"


@dataclass
class FeatureStats:
    """Mean and standard deviation of log-mel values over real frames, gathered in one pass.

    Each addition merges counts, means and squared deviations in float64 (Chan, Golub and LeVeque
    1983), so the result equals a two-pass computation and does not drift with size.
    """

    frames: int = 0
    values: int = 0
    mean: float = 0.0
    squared_deviations: float = 0.0

    @property
    def std(self) -> float:
        """Population standard deviation."""
        return math.sqrt(self.squared_deviations / self.values) if self.values else 0.0

    def add(self, features: "torch.Tensor") -> None:
        """Count un-normalised log-mel values of real frames, shape (frames, mel)."""
        values = features.double()
        mean = values.mean().item()
        deviations = (values - mean).square().sum().item()
        self.merge(FeatureStats(features.shape[0], features.numel(), mean, deviations))

    def merge(self, other: "FeatureStats") -> None:
        """Take in another part's statistics. Merge parts in one fixed order for equal bits."""
        if not other.values:
            return
        total = self.values + other.values
        delta = other.mean - self.mean
        self.squared_deviations += (
            other.squared_deviations + delta * delta * self.values * other.values / total
        )
        self.mean += delta * other.values / total
        self.values, self.frames = total, self.frames + other.frames

    def save(self, folder: str | Path) -> None:
        """Write `feature_stats.json`: mean, std, frames."""
        content = {"mean": self.mean, "std": self.std, "frames": self.frames}
        (Path(folder) / STATS_FILE).write_text(json.dumps(content, indent=2) + "\n")
