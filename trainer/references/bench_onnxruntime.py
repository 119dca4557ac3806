"""ONNX Runtime's side of `thorax-train bench backbones --peers PYTHON` and `bench engine` (see bench_peer.py).

    python bench_onnxruntime.py --threads 2

A case is a folder with `graph.onnx`, the input `x.f32` and, written here after the first run, the first output `y.f32` (both
raw, little-endian), so that the other side can see that both compute the same.

With `real.onnx` beside it, `graph.onnx` is that net in 8-bit integers as we write it, and ONNX Runtime's own tool makes two more of the
net in real numbers, QDQ and QOperator (u8 values, i8 weights, a scale an output channel). Ranges are those of pictures of noise, which is
enough to time them. The quickest of the three is timed, and `form.txt` names it.

All graph optimisations are on, and the threads are as many as ours. As it comes, ONNX Runtime's threads spin for some 60 ms
after a run, and would take the processor from the other side. So they either sleep at once when a run ends, and spin within it,
or never spin; both are tried, and the quicker is timed: which it is depends on what else the machine does.
"""
import argparse
import logging
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
FORMS = ["QDQ", "QOperator"]
# Correlation with the net in real numbers below which a quantized one is another net; ranges of noise are coarse.
ALIKE = 0.5


def session(graph, entry):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry(*entry)
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def quantize(folder):
    """Writes `real.onnx` in 8-bit integers, once for each of FORMS."""
    try:
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    except ImportError as error:
        raise RuntimeError(f"ONNX Runtime cannot quantize ({error}): pip install onnx for this Python") from error

    # It advises to fold constants first; weights that a Cast makes would be quantized anew in each run.
    folded = folder / "folded.onnx"
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    real = onnxruntime.InferenceSession(folder / "real.onnx", options, providers=["CPUExecutionProvider"])
    [x] = real.get_inputs()

    class Noise(CalibrationDataReader):
        def __init__(self):
            random = numpy.random.default_rng(1)
            self.pictures = iter([{x.name: random.standard_normal(x.shape, "f4")} for _ in range(2)])

        def get_next(self):
            return next(self.pictures, None)

    # It advises to prepare the net, which was done above.
    logging.disable(logging.WARNING)
    for form in FORMS:
        quantize_static(folded, folder / f"{form}.onnx", Noise(), QuantFormat[form], per_channel=True,
                        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    return real


def build(case):
    folder = Path(case)
    sessions = [("as it is", session(folder / "graph.onnx", entry)) for entry in QUIET]
    [x] = sessions[0][1].get_inputs()
    feed = {x.name: numpy.fromfile(folder / "x.f32", "<f4").reshape(x.shape)}
    sessions[0][1].run(None, feed)[0].astype("<f4").tofile(folder / "y.f32")
    if (folder / "real.onnx").exists():
        wanted = quantize(folder).run(None, feed)[0]
        for form in FORMS:
            both = [session(folder / f"{form}.onnx", entry) for entry in QUIET]
            alike = numpy.corrcoef(both[0].run(None, feed)[0].ravel(), wanted.ravel())[0, 1]
            # A comparison that a NaN does not pass.
            if not alike >= ALIKE:
                raise RuntimeError(f"{form} has a correlation of {alike:.2f} with the net that it was made of")
            sessions += [(form, one) for one in both]
    times = [[] for _ in sessions]
    for _ in range(5):
        for times_of_one, (_, one) in zip(times, sessions):
            start = time.perf_counter()
            one.run(None, feed)
            times_of_one.append(time.perf_counter() - start)
    # The first run prepares.
    medians = [statistics.median(times_of_one[1:]) for times_of_one in times]
    form, quickest = sessions[medians.index(min(medians))]
    (folder / "form.txt").write_text(form)
    return lambda: quickest.run(None, feed)[0]


serve(onnxruntime.__version__, build)
