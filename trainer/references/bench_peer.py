"""What the peers of `thorax-train bench` have in common: a line of standard input is a question, a line back its answer.

`version` is answered with the library's version; `prepare CASE` sets a case up, warms it and answers with the shape of what it
computes, or `ready`; `run CASE` carries it out once and answers with milliseconds; `peak` answers with the process's peak
resident memory in KiB. What is wrong is answered with `error ...`.
"""
import sys
import time


def serve(version, build, synchronise=lambda: None):
    """Answers until the input ends. `build(case)` gives a function that does the case's work once."""
    prepared = {}

    def answer(line):
        command, _, case = line.partition(" ")
        if command == "version":
            return version
        if command == "peak":
            return next(row.split()[1] for row in open("/proc/self/status") if row.startswith("VmHWM"))
        if command == "prepare":
            # One case at a time, so that no other's memory is held beside it.
            prepared.clear()
            prepared[case] = build(case)
            for _ in range(2):
                result = prepared[case]()
            synchronise()
            return " x ".join(map(str, result.shape)) if hasattr(result, "shape") else "ready"
        start = time.perf_counter()
        prepared[case]()
        synchronise()
        return f"{1e3 * (time.perf_counter() - start):.6f}"

    for line in sys.stdin:
        try:
            print(answer(line.rstrip("\n")), flush=True)
        except Exception as error:
            print(f"error {type(error).__name__} {str(error)!r}", flush=True)
