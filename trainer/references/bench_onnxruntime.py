"""ONNX Runtime's side of `thorax-train bench backbones --peers PYTHON` (see bench_peer.py).

    python bench_onnxruntime.py --threads 2 [--spin-on]

A case is a folder with `graph.onnx`, the input `x.f32` and, written here after the first run, the first output `y.f32` (both
raw, little-endian), so that the other side can see that both compute the same.

All graph optimisations are on, and the threads are as many as ours. They spin while a run lasts, as they do by default, which
is quickest; when it ends they go to sleep at once (`force_spinning_stop`), and do not take the processor from the other side.
`--spin-on` leaves that out, to see that it costs ONNX Runtime nothing.
"""
import argparse
from pathlib import Path

import numpy
import onnxruntime
from bench_peer import serve

parser = argparse.ArgumentParser()
parser.add_argument("--threads", type=int, required=True)
parser.add_argument("--spin-on", action="store_true")
arguments = parser.parse_args()


def build(case):
    folder = Path(case)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    if not arguments.spin_on:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(folder / "graph.onnx", options, providers=["CPUExecutionProvider"])
    x = numpy.fromfile(folder / "x.f32", "<f4").reshape(session.get_inputs()[0].shape)

    def run():
        return session.run(None, {"input": x})[0]

    run().astype("<f4").tofile(folder / "y.f32")
    return run


serve(onnxruntime.__version__, build)
