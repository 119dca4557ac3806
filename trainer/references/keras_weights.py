"""Holds trainer/scripts/keras_to_safetensors.py against Keras, and writes what trainer/tests/keras_weights.rs compares with.

    pip install keras torch h5py numpy safetensors
    python trainer/references/keras_weights.py FOLDER
    THORAX_KERAS_FILES=FOLDER cargo test --release -p thorax-trainer --test keras_weights

Nets of keras.applications get drawn weights (drawn.py) and are saved in every form: weights alone, as the older Keras and Keras 3
write them, a whole model, and a model in which the net is one layer. All are converted, and every array must be Keras's to the
bit. FOLDER then has each converted file, and Keras's features of a drawn picture. What is damaged or no file of weights must be
refused, with no file written. Not in CI, which has no Keras. Run with Keras 3.15.0 on PyTorch 2.15.0, h5py 3.16.0.
"""
import os
import subprocess
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"

import h5py
import keras
import numpy as np
from backbones import SIDES, drawn_picture, keras_drawn, keras_maps
from keras.src.legacy.saving.legacy_h5_format import save_model_to_hdf5, save_weights_to_hdf5_group
from safetensors.numpy import load_file, save_file

SCRIPT = Path(__file__).parent.parent / "scripts/keras_to_safetensors.py"


def convert(path, out):
    return subprocess.run([sys.executable, SCRIPT, path, out], capture_output=True, text=True)


def saved(net, folder):
    """The files of every form."""
    with h5py.File(folder / "older.h5", "w") as file:
        save_weights_to_hdf5_group(file, net)
    save_model_to_hdf5(net, folder / "whole.h5")
    net.save_weights(folder / "keras3.weights.h5")
    picture = keras.Input(net.input_shape[1:])
    outer = keras.Model(picture, keras.layers.GlobalAveragePooling2D()(net(picture)))
    with h5py.File(folder / "older_inside.h5", "w") as file:
        save_weights_to_hdf5_group(file, outer)
    outer.save_weights(folder / "keras3_inside.weights.h5")
    return sorted(folder.glob("*.h5"))


def check_net(name, folder):
    net = keras_drawn(name)
    expected = {variable.path: np.asarray(variable) for variable in net.weights}
    folder.mkdir(parents=True, exist_ok=True)
    for path in saved(net, folder):
        out = folder / (path.name.split(".")[0] + ".safetensors")
        result = convert(path, out)
        assert result.returncode == 0, result.stderr
        found = load_file(out)
        assert found.keys() == expected.keys(), sorted(found.keys() ^ expected.keys())[:8]
        for key, value in expected.items():
            assert found[key].dtype == value.dtype and np.array_equal(found[key], value), f"{path}: {key}"
        print(f"{name}, {path.name}: {len(found)} arrays are Keras's", flush=True)
        path.unlink()
    picture = drawn_picture(SIDES[name])
    features = np.ascontiguousarray(keras_maps(name, net)(picture)["features"], np.float32)
    save_file({"features": features}, folder / "expected.safetensors")


def check_refusals(folder):
    """Each must be told in one line that names the file, and nothing written."""
    net = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.SeparableConv2D(3, 2)])
    net.save_weights(folder / "unknown_layer.weights.h5")
    (folder / "text.h5").write_text("no HDF5")
    with h5py.File(folder / "foreign.h5", "w") as file:
        file["data"] = np.zeros(3)
    with h5py.File(folder / "damaged.h5", "w") as file:
        file.attrs["layer_names"] = [b"conv1_conv"]
        file.create_group("conv1_conv").attrs["weight_names"] = [b"conv1_conv/kernel:0"]
    with h5py.File(folder / "empty.h5", "w") as file:
        file.attrs["layer_names"] = [b"input"]
        file.create_group("input").attrs["weight_names"] = np.zeros(0)
    (folder / "model.keras").write_bytes(b"PK")
    names = ["unknown_layer.weights.h5", "text.h5", "foreign.h5", "damaged.h5", "empty.h5", "model.keras", "absent.h5"]
    for path in [folder / name for name in names]:
        result = convert(path, folder / "out.safetensors")
        lines = result.stderr.strip().splitlines()
        assert result.returncode != 0 and len(lines) == 1 and lines[0].startswith(str(path)), result.stderr
        assert not list(folder.glob("out.*")), path
        print(lines[0].replace(str(folder), "FOLDER"), flush=True)
    # Keras 2's names, and lists that are kept in pieces.
    kernel = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    with h5py.File(folder / "keras2.h5", "w") as file:
        file.attrs["layer_names0"], file.attrs["layer_names1"] = [b"conv1_conv"], [b"block1a_dwconv"]
        for layer, name in [("conv1_conv", "conv1_conv/kernel:0"), ("block1a_dwconv", "block1a_dwconv/depthwise_kernel:0")]:
            file.create_group(layer).attrs["weight_names"] = [name.encode()]
            file[layer][name] = kernel
    assert convert(folder / "keras2.h5", folder / "keras2.safetensors").returncode == 0
    found = load_file(folder / "keras2.safetensors")
    assert list(found) == ["block1a_dwconv/depthwise_kernel", "conv1_conv/kernel"], list(found)
    assert all(np.array_equal(value, kernel) for value in found.values())


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for name in ["resnet50", "inception-resnet-v2", "efficientnet-b0"]:
        check_net(name, folder / name)
    check_refusals(folder)
