"""Turns a file of Keras weights into safetensors, which `--weights FILE` of thorax-train reads.

    pip install h5py numpy safetensors
    python keras_to_safetensors.py resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5 resnet50.safetensors

Read are the two forms in which Keras keeps weights as HDF5: the older one (`.h5`: what keras.applications downloads, whole models
of `model.save("model.h5")`, `save_weights` of Keras 2), and that of Keras 3 (`.weights.h5`). The arrays are written as they are
under `layer/variable`, such as `conv1_conv/kernel` and `conv1_bn/moving_mean`; thorax-train turns the kernels itself. What
cannot be understood is refused, and no file is written.
"""
import argparse
import itertools
import os
import re
import sys
from pathlib import Path

import h5py
import numpy
from safetensors.numpy import save

# Keras 3 numbers a layer's variables; their names follow from the layer's class and their number.
VARIABLES = {
    "conv2d": [["kernel"], ["kernel", "bias"]],
    "depthwise_conv2d": [["kernel"], ["kernel", "bias"]],
    "dense": [["kernel"], ["kernel", "bias"]],
    # Three are those of keras.applications' InceptionResNetV2, which has no scale.
    "batch_normalization": [["beta", "moving_mean", "moving_variance"], ["gamma", "beta", "moving_mean", "moving_variance"]],
    "normalization": [["mean", "variance", "count"]],
}


class NotUnderstood(Exception):
    """What is wrong with the file, and what to do about it."""


def texts(group, name):
    """An attribute that is a list of texts; a long one is kept in pieces, `name0`, `name1` and so on."""
    attributes = group.attrs
    numbered = (f"{name}{number}" for number in itertools.count())
    pieces = [name] if name in attributes else list(itertools.takewhile(attributes.__contains__, numbered))
    if not pieces:
        raise NotUnderstood(f"the group {group.name} has no {name}: this is no file of weights that Keras wrote")
    values = [value for piece in pieces for value in attributes[piece]]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def legacy(group):
    """Name and array of every variable of the older form."""
    for layer in texts(group, "layer_names"):
        names = texts(group[layer], "weight_names")
        paths = [re.sub(r":\d+$", "", name).split("/") for name in names]
        owners = {path[-2] if len(path) > 1 else layer for path in paths}
        for name, path in zip(names, paths):
            if name not in group[layer]:
                raise NotUnderstood(f"{layer} has no {name}, which it lists: the file is damaged, fetch it again")
            # A layer that has others inside is a model: their names count, and not its own.
            yield (layer if len(owners) == 1 else path[-2]), path[-1], group[layer][name]


def keras3(file):
    """Name and array of every variable of Keras 3's form."""
    groups = []
    file.visititems(lambda path, item: groups.append((path, item)) if path.split("/")[-1] == "vars" and len(item) else None)
    for path, variables in groups:
        kind = re.sub(r"_\d+$", "", path.split("/")[-2]) if "/" in path else "model"
        known = [names for names in VARIABLES.get(kind, []) if len(names) == len(variables)]
        if not known:
            raise NotUnderstood(
                f"{path} is a {kind} with {len(variables)} variables, whose names this script does not know; load the weights in "
                "Keras and save them in the older form, model.save('model.h5')"
            )
        if "name" not in variables.attrs:
            raise NotUnderstood(
                f"{path} does not have the layer's name: an early Keras 3 wrote the file; load the weights in a later one and save "
                "them again"
            )
        for number, name in enumerate(known[0]):
            yield str(variables.attrs["name"]), name, variables[str(number)]


def convert(file):
    """All arrays by name."""
    if "layer_names" in file.attrs or "layer_names0" in file.attrs:
        found = legacy(file)
    elif "model_weights" in file:
        found = legacy(file["model_weights"])
    elif "layers" in file or "_layer_checkpoint_dependencies" in file:
        found = keras3(file)
    else:
        raise NotUnderstood(f"there are no weights of Keras in it; it has {', '.join(file) or 'nothing'}")
    arrays = {}
    for layer, variable, dataset in found:
        name = f"{layer}/{variable}"
        if name in arrays:
            raise NotUnderstood(f"there are two variables {name}; save each model in a file of its own")
        if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "fiu":
            raise NotUnderstood(f"{name} is no array of numbers")
        arrays[name] = numpy.ascontiguousarray(dataset[()]).reshape(dataset.shape)
    if not arrays:
        raise NotUnderstood("there are layers and no weights in it")
    return arrays


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, metavar="WEIGHTS.h5", help="the file that Keras wrote")
    parser.add_argument("out", type=Path, metavar="OUT.safetensors", help="the file to write")
    arguments = parser.parse_args()
    if arguments.weights.suffix == ".keras":
        sys.exit(f"{arguments.weights}: this is a whole model; give the file of model.save_weights('model.weights.h5')")
    try:
        with h5py.File(arguments.weights) as file:
            arrays = convert(file)
    except (NotUnderstood, OSError, KeyError, RuntimeError) as error:
        sys.exit(f"{arguments.weights}: {error}")
    temporary = arguments.out.with_name(arguments.out.name + ".partial")
    try:
        with open(temporary, "wb") as written:
            written.write(save(arrays, {"converted_from": arguments.weights.name}))
            written.flush()
            os.fsync(written.fileno())
        os.replace(temporary, arguments.out)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        sys.exit(f"{arguments.out}: {error}")
    layers = len({name.split("/")[0] for name in arrays})
    print(f"{arguments.out}: {len(arrays)} arrays of {layers} layers, {sum(array.size for array in arrays.values()):,} values")


if __name__ == "__main__":
    main()
