"""ONNX Runtime's side of `thorax-train bench backbones --peers PYTHON` (see bench_peer.py).

    python bench_onnxruntime.py --threads 2 [--spin-on]

A case is a folder with `graph.onnx`, the input `x.f32` and, written here after the first run, the first output `y.f32` (both
raw, little-endian), so that the other side can see that both compute the same.

All graph optimisations are on, and the threads are as many as ours. As it comes, ONNX Runtime's threads spin for some 60 ms
after a run, and would take the processor from the other side. So they either sleep at once when a run ends, and spin within it,
or never spin; both are tried, and the quicker is timed: which it is depends on what else the machine does.
"""
import argparse
import statistics
import time
from pathlib import Path

import numpy
import onnxruntime
from bench_peer import serve

parser = argparse.ArgumentParser()
parser.add_argument("--threads", type=int, required=True)
arguments = parser.parse_args()

QUIET = [("session.force_spinning_stop", "1"), ("session.intra_op.allow_spinning", "0")]


def session(graph, entry):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry(*entry)
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def build(case):
    folder = Path(case)
    sessions = [session(folder / "graph.onnx", entry) for entry in QUIET]
    x = numpy.fromfile(folder / "x.f32", "<f4").reshape(sessions[0].get_inputs()[0].shape)
    times = [[], []]
    for _ in range(5):
        for times_of_one, one in zip(times, sessions):
            start = time.perf_counter()
            y = one.run(None, {"input": x})[0]
            times_of_one.append(time.perf_counter() - start)
    y.astype("<f4").tofile(folder / "y.f32")
    # The first run prepares.
    quicker = min(zip(times, sessions), key=lambda pair: statistics.median(pair[0][1:]))[1]
    return lambda: quicker.run(None, {"input": x})[0]


serve(onnxruntime.__version__, build)
