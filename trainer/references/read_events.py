#!/usr/bin/env python3
"""Reads a run's events with TensorBoard's own reader, and sees that they tell what epochs.csv tells.

    python trainer/references/read_events.py RUN_FOLDER

Needs tensorboard.
"""

import csv
import math
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def main():
    folder = Path(sys.argv[1])
    events = EventAccumulator(str(folder)).Reload()
    rows = list(csv.DictReader((folder / "epochs.csv").open()))
    columns = [name for name in rows[0] if name != "epoch"]
    tags = {tag.split("/")[1]: tag for tag in events.Tags()["scalars"]}
    assert set(columns) <= set(tags), (columns, tags)
    for column in columns:
        scalars = events.Scalars(tags[column])
        assert [s.step for s in scalars] == [int(row["epoch"]) + 1 for row in rows], column
        for scalar, row in zip(scalars, rows):
            assert math.isclose(scalar.value, float(row[column]), rel_tol=1e-6, abs_tol=1e-30), (column, scalar, row)
    print(f"{folder}: {len(rows)} epochs, {len(columns)} scalars each, equal to epochs.csv")


if __name__ == "__main__":
    main()
