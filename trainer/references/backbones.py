"""Writes trainer/tests/references/backbones.safetensors: what timm, torchvision and Keras compute with each backbone.

    pip install torch torchvision timm keras numpy safetensors pillow
    python trainer/references/backbones.py SHARED                  # all: about ten minutes on two cores
    python trainer/references/backbones.py SHARED --only resnet50  # one backbone; the others stay as they are in the file

SHARED is the folder of material that is not part of the repository: two pictures of SHARED/data/seg/images, and the weights
of SHARED/weights. Written with PyTorch 2.15.0, torchvision 0.30.0, timm 1.0.31, Keras 3.15.0 (on PyTorch).

Weights are drawn (drawn.py) under the names that the layout has in files, the nets compute in float64, and of every named
map a few values are kept, at places drawn as well, and behind them the root of the mean square of the whole map.
trainer/tests/backbones.rs makes pictures and weights anew. The metadata has the pictures' SHA-256 and, by Keras, the number of
parameters and of those that are trained.
"""
import argparse
import hashlib
import json
import os
import pathlib

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import timm
import torch
import torchvision
from drawn import drawn, drawn_parameter, places
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
SIDES = {"resnet50": 224, "inception-resnet-v2": 299}
SIDES |= {f"efficientnet-b{i}": side for i, side in enumerate([224, 240, 260, 300, 380, 456, 528, 600])}
SIDES |= {f"efficientnet-lite{i}": side for i, side in enumerate([224, 240, 260])}
MAPS = ["stride2", "stride4", "stride8", "stride16", "features"]
PICTURES = ["coronacases-001__0101.png", "radiopaedia-14__1408.png"]
OUT = pathlib.Path(__file__).parent.parent / "tests/references/backbones.safetensors"


def real_picture(path, side):
    """`[1, 3, side, side]` in 0..1, nearest neighbours."""
    grey = np.asarray(Image.open(path).convert("L"))
    rows, columns = ([place * size // side for place in range(side)] for size in grey.shape)
    return np.broadcast_to(grey[rows][:, columns].astype(np.float32) / np.float32(255), (1, 3, side, side)).copy()


def drawn_picture(side):
    """`[1, 3, side, side]` in 0..1."""
    return (drawn("picture", (1, 3, side, side)) + np.float32(1)) / np.float32(2)


def torch_maps(net, modules, features, normalisation):
    """A function from a picture in 0..1 to the named maps of a PyTorch net with drawn weights."""
    heads = ("fc.", "classifier.", "classif.")
    weights = {name: torch.from_numpy(drawn_parameter(name, tuple(value.shape)))
               for name, value in net.state_dict().items()
               if not name.endswith("num_batches_tracked") and not name.startswith(heads)}
    net.load_state_dict(weights, strict=False)
    return torch_forward(net, modules, features, normalisation)


def torch_forward(net, modules, features, normalisation):
    net = net.eval().double()
    mean, std = (torch.tensor(values, dtype=torch.float64).reshape(1, 3, 1, 1) for values in normalisation)
    found = {}
    for name, module in modules.items():
        # A copy: what follows may work in place.
        net.get_submodule(module).register_forward_hook(lambda _, __, y, name=name: found.update({name: y.clone()}))

    def forward(picture):
        with torch.no_grad():
            found["features"] = features(net)((torch.from_numpy(picture).double() - mean) / std)
        return {name: found[name].numpy() for name in MAPS}

    return forward


def timm_net(name):
    if name == "resnet50":
        return timm.create_model("resnet50"), dict(zip(MAPS, ["act1", "layer1", "layer2", "layer3"])), IMAGENET
    if name == "inception-resnet-v2":
        modules = dict(zip(MAPS, ["conv2d_2b", "conv2d_4a", "repeat", "repeat_1"]))
        return timm.create_model("inception_resnet_v2"), modules, ([0.5] * 3, [0.5] * 3)
    net = timm.create_model("tf_" + name.replace("-", "_"))
    modules = dict(zip(MAPS, ["blocks.0", "blocks.1", "blocks.2", "blocks.4"]))
    return net, modules, ([0.5] * 3, [0.5] * 3) if "lite" in name else IMAGENET


def timm_maps(name):
    net, modules, normalisation = timm_net(name)
    return torch_maps(net, modules, lambda net: net.forward_features, normalisation)


def torchvision_maps(name):
    net = getattr(torchvision.models, name.replace("-", "_"))()
    modules = dict(zip(MAPS, ["features.1", "features.2", "features.3", "features.5"]))
    return torch_maps(net, modules, lambda net: net.features, IMAGENET)


KERAS = {"resnet50": ("ResNet50", "resnet"), "inception-resnet-v2": ("InceptionResNetV2", "inception_resnet_v2")}
KERAS |= {f"efficientnet-b{i}": (f"EfficientNetB{i}", "efficientnet") for i in range(8)}


def keras_net(name):
    keras.utils.clear_session()
    return getattr(keras.applications, KERAS[name][0])(include_top=False, weights=None, input_shape=(SIDES[name],) * 2 + (3,))


def keras_drawn(name):
    """Keras's net with drawn weights."""
    net = keras_net(name)
    for variable in net.weights:
        if variable.path.startswith("normalization"):
            # Our drawn "file" has variances, as Keras saves them (its published ones have deviations).
            values = {"mean": IMAGENET[0], "variance": np.square(IMAGENET[1])}.get(variable.path.split("/")[1])
            if values is not None:
                variable.assign(values)
        else:
            variable.assign(drawn_parameter(variable.path, tuple(variable.shape)))
    normalization = [layer for layer in net.layers if isinstance(layer, keras.layers.Normalization)]
    for layer in normalization:
        layer.finalize_state()
    return net


def keras_maps(name, net=None):
    """A function from a picture in 0..1 to the named maps of Keras's net, with drawn weights unless it has others."""
    net = net or keras_drawn(name)
    if name == "resnet50":
        ends = ["conv1_relu", "conv2_block3_out", "conv3_block4_out", "conv4_block6_out"]
        ends = [net.get_layer(end).output for end in ends]
    elif name == "inception-resnet-v2":
        ends = [net.get_layer(end).output for end in ["activation_2", "activation_4", "block35_10_ac", "block17_20_ac"]]
    else:
        ends = [net.get_layer(f"block{stage}a_expand_conv").input for stage in [2, 3, 4, 6]]
    maps = keras.Model(net.input, ends + [net.output])
    preprocess = getattr(keras.applications, KERAS[name][1]).preprocess_input

    def forward(picture):
        pixels = picture.transpose(0, 2, 3, 1).astype(np.float64) * 255
        with torch.no_grad():
            results = maps(torch.from_numpy(np.ascontiguousarray(preprocess(pixels))), training=False)
        return {name: result.numpy().transpose(0, 3, 1, 2) for name, result in zip(MAPS, results)}

    return forward


def sampled(label, values):
    """Some values, and the root of the mean square of all, in float32."""
    values = np.ascontiguousarray(values).reshape(-1)
    at = places(label, 256 if label == "features" else 64, values.size)
    return np.append(values[at], np.sqrt(np.mean(np.square(values)))).astype(np.float32)


def one_backbone(name, images):
    """The samples of one backbone: "backbone/layout/picture/map"."""
    samples = {}
    makers = {"timm": timm_maps}
    if name.startswith("efficientnet-b"):
        makers["torchvision"] = torchvision_maps
    if name in KERAS:
        makers["keras"] = keras_maps
    heavy = name in [f"efficientnet-b{i}" for i in range(4, 8)]
    for layout, maker in makers.items():
        forward = maker(name)
        pictures = {"drawn": drawn_picture(SIDES[name])}
        if layout == "timm" or not heavy:
            pictures |= {file: real_picture(images / file, SIDES[name]) for file in PICTURES}
        for picture, pixels in pictures.items():
            maps = forward(pixels)
            for label, values in maps.items():
                samples[f"{name}/{layout}/{picture}/{label}"] = sampled(label, values)
            if name == "resnet50" and layout == "timm" and picture == "drawn":
                assert_torchvisions_resnet50_is_timms(pixels, maps["features"])
            largest = " ".join(f"{np.abs(values).max():.2g}" for values in maps.values())
            print(f"{name} {layout} {picture}: features {maps['features'].shape}, largest {largest}", flush=True)
    return samples


def assert_torchvisions_resnet50_is_timms(pixels, features):
    net = torchvision.models.resnet50()
    net.avgpool, net.fc = torch.nn.Identity(), torch.nn.Identity()
    same = torch_maps(net, {name: "conv1" for name in MAPS[:4]}, lambda net: net, IMAGENET)(pixels)["features"]
    assert np.array_equal(same.reshape(features.shape), features), "torchvision's resnet50 is not timm's"


def lite2_with_its_weights(shared):
    """timm's tf_efficientnet_lite2 with the ImageNet weights, on the picture of the lite0 reference, enlarged."""
    weights = {k: torch.from_numpy(v).float()
               for k, v in load_file(shared / "weights/tf_efficientnet_lite2.f16.safetensors").items()}
    net, modules, _ = timm_net("efficientnet-lite2")
    missing = [k for k in net.load_state_dict(weights, strict=False).missing_keys if "num_batches" not in k]
    assert not missing, missing
    picture = load_file(shared / "weights/reference_tf_efficientnet_lite0_chelsea.safetensors")["input"]
    at = [place * 224 // 260 for place in range(260)]
    forward = torch_forward(net, modules, lambda net: net.forward_features, ([0.0] * 3, [1.0] * 3))
    maps = forward(np.ascontiguousarray(picture[:, :, at][:, :, :, at]))
    return {f"efficientnet-lite2/imagenet/chelsea/{label}": sampled(label, values) for label, values in maps.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=pathlib.Path)
    parser.add_argument("--only", choices=SIDES)
    arguments = parser.parse_args()
    keras.config.set_floatx("float64")
    images = arguments.shared / "data/seg/images"
    samples, counts = {}, {}
    if arguments.only and OUT.exists():
        with safe_open(OUT, "np") as before:
            samples = {key: before.get_tensor(key) for key in before.keys()}
            counts = json.loads(before.metadata()["keras_parameters"])
    for name in [arguments.only] if arguments.only else SIDES:
        samples |= one_backbone(name, images)
        if name in KERAS:
            net = keras_net(name)
            # The normalisation layer's mean, variance and count (7 values) are no parameters of the published net.
            own = sum(int(np.prod(v.shape)) for v in net.weights if not v.path.startswith("normalization"))
            assert net.count_params() - own == (7 if "efficientnet" in name else 0)
            counts[name] = [own, sum(int(np.prod(v.shape)) for v in net.trainable_variables)]
            print(f"{name}: Keras counts {net.count_params()}, of which are the net's {own}", flush=True)
    samples |= lite2_with_its_weights(arguments.shared)
    hashes = {file: hashlib.sha256((images / file).read_bytes()).hexdigest() for file in PICTURES}
    metadata = {"pictures": json.dumps(hashes), "keras_parameters": json.dumps(counts)}
    save_file(samples, OUT, metadata)
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}, timm {timm.__version__}"
    print(f"{OUT.name}: {OUT.stat().st_size} bytes; {versions}, Keras {keras.__version__}")


if __name__ == "__main__":
    main()
