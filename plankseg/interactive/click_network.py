"""The click network: from image, mask so far and a click to the pixels that the click means.

Its kind is that of RITM (Sofiiuk et al. 2022, Reviving Iterative Training with Mask Guidance), much smaller.
"""

from collections.abc import Mapping, Sequence
from itertools import count, takewhile

import torch
from jaxtyping import Float
from torch import nn

from plankseg.interactive.click_features import CHANNELS

WIDTHS = (12, 24, 32, 48)
STEP_PX = 2 ** (len(WIDTHS) - 1)
"""Height and width of its input are multiples of this."""


class ClickNetwork(nn.Module):  # type: ignore[misc]
    """A small U-Net of four levels, each so many channels wide.

    Its answer is the logit that a pixel is among those that the click means.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.widths = tuple(widths)
        inputs = (CHANNELS, *widths[:-1])
        self.down = nn.ModuleList(_block(inside, outside) for inside, outside in zip(inputs, widths, strict=True))
        narrowing = list(zip(widths[1:], widths[:-1], strict=True))[::-1]
        self.up = nn.ModuleList(_block(below + beside, beside) for below, beside in narrowing)
        self.head = nn.Conv2d(widths[0], 1, 1)

    def forward(self, maps: Float[torch.Tensor, "n channels h w"]) -> Float[torch.Tensor, "n h w"]:
        """The logits of `click_features`, whose height and width are multiples of `STEP_PX`."""
        kept = []
        for level, block in enumerate(self.down):
            maps = block(maps if level == 0 else nn.functional.max_pool2d(maps, 2))
            kept.append(maps)
        for block, beside in zip(self.up, kept[-2::-1], strict=True):
            maps = nn.functional.interpolate(maps, scale_factor=2, mode="nearest")
            maps = block(torch.cat([maps, beside], dim=1))
        return self.head(maps)[:, 0]


def _block(inside: int, outside: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inside, outside):
        layers += [nn.Conv2d(width, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def widths_of(weights: Mapping[str, torch.Tensor]) -> tuple[int, ...]:
    """How many channels each level has of the network whose weights these are."""
    names = (f"down.{level}.0.weight" for level in count())
    return tuple(len(weights[name]) for name in takewhile(weights.__contains__, names))


def widened(network: ClickNetwork, widths: Sequence[int]) -> ClickNetwork:
    """A network of more channels that answers as `network` does: nothing listens to the further ones yet."""
    wider = ClickNetwork(widths)
    for name, old in network.named_modules():
        new = wider.get_submodule(name)
        if isinstance(old, nn.Conv2d) and isinstance(new, nn.Conv2d):
            listened = list(range(old.in_channels))
            if name.startswith("up.") and name.endswith(".0"):  # two inputs, one behind the other
                below = network.widths[::-1][int(name.split(".")[1])]
                shift = wider.widths[::-1][int(name.split(".")[1])] - below
                listened = [channel + shift * (channel >= below) for channel in listened]
            with torch.no_grad():
                new.weight[: old.out_channels] = 0.0
                new.weight[: old.out_channels, listened] = old.weight
                if new.bias is not None and old.bias is not None:
                    new.bias.copy_(old.bias)
        elif isinstance(old, nn.BatchNorm2d):
            for kept, values in old.state_dict().items():
                target = new.state_dict()[kept]
                target.view(-1)[: values.numel()] = values.view(-1)
    return wider
