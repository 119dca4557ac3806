"""The Rust steps, from Python: a process of `examples/preprocess_probe.rs` that is asked picture by picture.

The program is looked for in `$CARGO_TARGET_DIR`, else in `target/`:
    cargo build --release -p thorax-shared --examples
"""

import json
import os
import pathlib
import subprocess

import numpy as np

FOLDER = pathlib.Path(__file__).resolve().parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", FOLDER.parents[1] / "target"))


def example(name):
    path = TARGET / "release" / "examples" / name
    if not path.exists():
        raise SystemExit(f"{path} is missing: cargo build --release -p thorax-shared --examples")
    return str(path)


class Probe:
    def __init__(self):
        self.process = subprocess.Popen([example("preprocess_probe")], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def _ask(self, step, picture, *words):
        height, width = picture.shape
        self.process.stdin.write(" ".join(map(str, (step, width, height, *words))).encode() + b"\n")
        self.process.stdin.write(np.ascontiguousarray(picture).tobytes())
        self.process.stdin.flush()

    def _picture(self, dtype, width, height):
        size = np.dtype(dtype).itemsize * width * height
        data = self.process.stdout.read(size)
        assert len(data) == size, "the probe ended"
        return np.frombuffer(data, dtype).reshape(height, width)

    def clahe(self, picture, clip_limit, tiles_x, tiles_y):
        self._ask(f"clahe{picture.dtype.itemsize * 8}", picture, clip_limit, tiles_x, tiles_y)
        return self._picture(picture.dtype, picture.shape[1], picture.shape[0])

    def resize(self, picture, width, height):
        self._ask(f"resize{picture.dtype.itemsize * 8}", picture, width, height)
        return self._picture(picture.dtype, width, height)

    def core(self, picture, kind, margin):
        self._ask("core", picture, kind, margin)
        return tuple(map(int, self.process.stdout.readline().split()))

    def quality(self, picture):
        self._ask("quality", picture)
        return json.loads(self.process.stdout.readline())
