"""The attention U-Net of trainer/src/nets/attention_unet.rs and the loss of trainer/src/train/segment.rs, in PyTorch.

Parameters have the Rust net's names, so a state dict of the one fits the other.
"""
import torch
from torch import nn


class Double(nn.Module):
    """Twice: 3x3 convolution, batch norm, ReLU."""

    def __init__(self, channels_in, channels_out):
        super().__init__()
        self.conv0 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.bn0 = nn.BatchNorm2d(channels_out)
        self.conv1 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)

    def forward(self, x):
        x = torch.relu(self.bn0(self.conv0(x)))
        return torch.relu(self.bn1(self.conv1(x)))


class Decoder(Double):
    """Upsampling, additive attention gate, double convolution."""

    def __init__(self, deep, here):
        super().__init__(2 * here, here)
        self.up = nn.ConvTranspose2d(deep, here, 2, 2)
        between = max(here // 2, 1)
        self.gate = nn.ModuleDict({
            "signal": nn.Conv2d(here, between, 1),
            "skip": nn.Conv2d(here, between, 1),
            "score": nn.Conv2d(between, 1, 1),
        })

    def forward(self, x, skip):
        up = self.up(x)
        both = torch.relu(self.gate["signal"](up) + self.gate["skip"](skip))
        attended = skip * torch.sigmoid(self.gate["score"](both))
        return super().forward(torch.cat([attended, up], 1))


class AttentionUnet(nn.Module):
    """Logits `[N, channels_out, H, W]` of `[N, channels_in, H, W]`."""

    def __init__(self, channels_in=1, channels_out=2, base_channels=16, blocks=4):
        super().__init__()
        widths = [base_channels << block for block in range(blocks + 1)]
        inputs = [channels_in] + widths[:-1]
        self.encoder = nn.ModuleList(Double(a, b) for a, b in zip(inputs[:blocks], widths[:blocks]))
        self.bottleneck = Double(inputs[blocks], widths[blocks])
        self.decoder = nn.ModuleList(Decoder(widths[b + 1], widths[b]) for b in reversed(range(blocks)))
        self.head = nn.Conv2d(base_channels, channels_out, 1)

    def forward(self, x):
        skips = []
        for block in self.encoder:
            skips.append(block(x))
            x = torch.max_pool2d(skips[-1], 2)
        x = self.bottleneck(x)
        for block in self.decoder:
            x = block(x, skips.pop())
        return self.head(x)


def bce_dice(logits, truth, known):
    """Binary cross entropy plus soft Dice, mean over the masks; `known` `[N, C, 1, 1]` is 0 where a mask is missing."""
    bce = torch.relu(logits) - logits * truth + torch.log(torch.exp(-logits.abs()) + 1)
    pixels = known.sum((0, 2, 3)) * (logits.shape[2] * logits.shape[3])
    bce = (bce * known).sum((0, 2, 3)) / (pixels + 1e-6)
    probability, truth = torch.sigmoid(logits) * known, truth * known
    overlap = 2 * (probability * truth).sum((0, 2, 3))
    total = probability.sum((0, 2, 3)) + truth.sum((0, 2, 3))
    return (bce + 1 - (overlap + 1) / (total + 1)).mean()


def adamw(net, learning_rate, epsilon=1e-8):
    """AdamW with our defaults: weight decay 0.01, but none for vectors (biases, normalisation)."""
    parameters = list(net.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 1e-2},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.999), eps=epsilon)
