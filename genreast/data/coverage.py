"""Every genre in every split, where groups of many genres stand in each other's way."""

from collections.abc import Collection, Mapping

NODES = 100  # of the solver's search tree; a limit in seconds would let them decide the splits


def cover(
    groups: Mapping[str, Collection[str]],
    chosen: Mapping[str, str],
    weights: Mapping[str, float],
    splits: list[str],
    wanted: list[tuple[str, str]],
) -> dict[str, str] | None:
    """The split of each group, such that each wanted genre and split has one, or None.

    `groups` gives the genres of each group, `chosen` the split that it has, `weights` what it costs
    to change it. The sum of these costs is the least, by an integer linear programme: x[group,
    split] is 0 or 1, sums to 1 over the splits of a group, and to 1 or more over the groups of a
    wanted genre in a wanted split.
    """
    import numpy as np  # here, as few datasets need it and SciPy takes its time to load
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array, eye_array, kron

    row = {pair: number for number, pair in enumerate(wanted)}
    places = [(group, split) for group in groups for split in splits]
    holds = [
        (row[genre, split], column)
        for column, (group, split) in enumerate(places)
        for genre in groups[group]
        if (genre, split) in row
    ]
    holds = csr_array(
        (np.ones(len(holds)), np.reshape(holds, (-1, 2)).T), shape=(len(row), len(places))
    )
    found = milp(
        [weights[group] * (split != chosen[group]) for group, split in places],
        integrality=np.ones(len(places)),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(kron(eye_array(len(groups)), np.ones((1, len(splits)))), 1, 1),
            LinearConstraint(holds, 1, np.inf),
        ],
        options={"node_limit": NODES},
    )
    if found.x is None:
        return None
    return dict(place for place, one in zip(places, found.x, strict=True) if one > 0.5)
