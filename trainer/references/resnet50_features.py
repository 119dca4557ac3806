"""Writes trainer/tests/references/resnet50_features.safetensors: every 8th channel of a ResNet50's features, in float64.

    pip install torch numpy safetensors
    pip install torchvision --no-deps; pip install pillow   # optional: torchvision's own net must then give the same
    python trainer/references/resnet50_features.py

Written with PyTorch 2.15.0. Weights and picture are drawn (drawn.py), under the tensors' names and "picture";
trainer/tests/resnet50_reference.rs makes them anew.
"""
import pathlib

import numpy as np
import torch
from drawn import drawn, drawn_parameter
from resnet50 import ResNet50
from safetensors.numpy import save_file

net = ResNet50().eval()
weights = {name: torch.from_numpy(drawn_parameter(name, tuple(value.shape)))
           for name, value in net.state_dict().items() if not name.endswith("num_batches_tracked")}
net.load_state_dict(weights, strict=False)
picture = torch.from_numpy(drawn("picture", (1, 3, 224, 224)))
with torch.no_grad():
    single = net(picture)
    features = net.double()(picture.double())
print(f"features {list(features.shape)}, largest {features.abs().max():.3g}, zero {(features == 0).double().mean():.0%}; "
      f"float32 from float64: {(single - features).abs().max() / features.abs().max():.1e} of the largest")

try:
    import torchvision
except ImportError:
    print("torchvision is not there: not compared")
else:
    theirs = torchvision.models.resnet50(weights=None).eval()
    unexpected = theirs.load_state_dict(weights, strict=False).unexpected_keys
    assert not unexpected, unexpected
    theirs.avgpool, theirs.fc = torch.nn.Identity(), torch.nn.Identity()
    with torch.no_grad():
        same = theirs.double()(picture.double()).view_as(features)
    assert torch.equal(same, features), "torchvision's net gives something else"
    print(f"torchvision {torchvision.__version__} gives the same")

path = pathlib.Path(__file__).parent.parent / "tests/references/resnet50_features.safetensors"
path.parent.mkdir(exist_ok=True)
save_file({"features": np.ascontiguousarray(features[:, ::8].numpy().astype(np.float32))}, path)
print(f"{path.name}: {path.stat().st_size} bytes, torch {torch.__version__}")
