#!/usr/bin/env python3
"""Fails where a program of this workspace would be built otherwise than for the tests that start it (tests/src/lib.rs): then these
build tract, and all that stands on it, a second time. Cargo's plans of both are compared; nothing is built.

    .ci/built_once.py
"""

import json
import os
import subprocess
import sys

sys.setrecursionlimit(10_000)


def plan(*words):
    """What cargo would build: the identity of each unit, with all that it is built from, and its package."""
    # The plan is told by unstable options alone.
    command = ["cargo", *words, "--release", "--locked", "--workspace", "--unit-graph", "-Z", "unstable-options"]
    told = subprocess.run(command, env=os.environ | {"RUSTC_BOOTSTRAP": "1"}, stdout=subprocess.PIPE, check=True).stdout
    units = json.loads(told)["units"]
    identities = {}

    def identity(index):
        if index not in identities:
            unit = units[index]
            own = {name: value for name, value in unit.items() if name != "dependencies"}
            built_from = sorted(identity(dependency["index"]) for dependency in unit["dependencies"])
            identities[index] = hash((json.dumps(own, sort_keys=True), *built_from))
        return identities[index]

    return {identity(index): unit["pkg_id"].rsplit("/", 1)[-1] for index, unit in enumerate(units)}


tests = plan("test")
programs = plan("build", "--bins")
twice = sorted({package for identity, package in programs.items() if identity not in tests})
if twice:
    print("built once for tests and once more for the programs that they start:", *twice, sep="\n    ", file=sys.stderr)
    print("The packages without others of this list below them have other features in one of the two: ask for these outright,", file=sys.stderr)
    print("as Cargo.toml does for num-traits and rustix.", file=sys.stderr)
    sys.exit(1)
print(f"tests and programs are built once: {len(programs)} units of {len(tests)}")
