#!/usr/bin/env python3
"""Compares what two builds of the device's program say of the same files (`screen --json`), line by line and field by field.

    .ci/same_answers.py ONE.jsonl OTHER.jsonl

Texts have to be the same, numbers to 1e-4. Times and memory are the machine's, and left out. Exit code 1 with each difference, and where there is
nothing to compare.
"""

import json
import math
import sys

TOLERANCE = 1e-4
OF_THE_MACHINE = {"milliseconds", "peak_memory_mib"}


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def differences(one, other, place, counted):
    """What is different at `place` and below; `counted[0]` goes up by each number that was compared."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted((one.keys() | other.keys()) - OF_THE_MACHINE):
            if key in one and key in other:
                yield from differences(one[key], other[key], f"{place}.{key}", counted)
            else:
                yield f"{place}.{key}: only in {'the first' if key in one else 'the second'}"
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other)):
            yield from differences(*pair, f"{place}[{index}]", counted)
    elif type(one) in (int, float) and type(other) in (int, float):
        counted[0] += 1
        # A number that is none is equal to nothing, so it is told.
        if not math.isclose(one, other, rel_tol=0.0, abs_tol=TOLERANCE):
            yield f"{place}: {one} and {other}"
    elif one != other:
        yield f"{place}: {one!r} and {other!r}"


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    one, other = lines(sys.argv[1]), lines(sys.argv[2])
    if len(one) != len(other):
        sys.exit(f"{len(one)} lines and {len(other)} lines")
    counted, told = [0], []
    for answers in zip(one, other):
        told += differences(*answers, answers[0].get("file", "?"), counted)
    # A film that was rejected by both has hardly a number: that would compare nothing.
    read = [answer for answer in one if answer.get("probability") is not None]
    if not read:
        sys.exit("no file was given a probability: nothing was compared")
    if told:
        sys.exit("\n".join(told))
    print(f"{len(one)} answers are the same, {len(read)} of them with a probability; {counted[0]} numbers to {TOLERANCE}")


main()
