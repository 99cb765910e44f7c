"""What makes decoded pictures look right: LPIPS and a patch discriminator; training only."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from lightning_artv.errors import CorruptWeightsError
from lightning_artv.networks.state_dict import load_given
from lightning_artv.networks.weight_files import first_line


@dataclass
class LPIPS:
    """Perceptual distance by VGG16 (Zhang et al. 2018), whose weights are read when first needed.

    Args:
        weights: torchvision's file, `vgg16-397923af.pth`; read as data.
        sha256: expected digest of it.
    """

    weights: str
    sha256: str | None = None
    _network: nn.Module | None = field(default=None, init=False, repr=False)

    def distance(self, pictures: Tensor, others: Tensor) -> Tensor:
        """`[N]` of pictures `[N, 3, H, W]` in [-1, 1].

        Raises:
            MissingWeightsError, CorruptWeightsError: of the weights.
        """
        if self._network is None:
            self._network = self._load()
        network = self._network.to(pictures.device)
        with torch.autocast(pictures.device.type, enabled=False):
            found: Tensor = network(pictures.float(), others.float())
        return found.flatten(1).mean(dim=1)

    def _load(self) -> nn.Module:
        from torchmetrics.functional.image.lpips import _LPIPS  # takes a while to import

        missing = (
            "There are no weights of VGG16 at {path}: download torchvision's "
            "vgg16-397923af.pth there, or leave lpips out."
        )
        path, tensors = load_given(self.weights, self.sha256, missing)
        network = _LPIPS(pretrained=True, net="vgg", pnet_rand=True)
        try:
            for part in network.net.children():
                own = part.state_dict()
                part.load_state_dict({name: tensors[f"features.{name}"] for name in own})
        except (RuntimeError, KeyError) as error:
            raise CorruptWeightsError(
                f"{path} does not hold torchvision's VGG16 ({first_line(error)}): give its file."
            ) from error
        frozen: nn.Module = network.eval().requires_grad_(False)
        return frozen


class PatchDiscriminator(nn.Module):
    """PatchGAN (Isola et al. 2017): how real each patch of a picture looks; it trains beside what
    it judges, in one step of one optimiser.

    Args:
        width: channels of the first layer.
        layers: number of layers that halve the picture.
    """

    def __init__(self, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        widths = [width * min(2**layer, 8) for layer in range(layers + 1)]
        modules: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for layer, (into, out) in enumerate(pairwise(widths)):
            stride = 2 if layer < layers - 1 else 1
            modules += [nn.Conv2d(into, out, 4, stride, 1), nn.GroupNorm(1, out), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*modules, nn.Conv2d(widths[-1], 1, 4, 1, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        """Map `[N, 3, H, W]` in [-1, 1] to logits `[N, 1, h, w]`."""
        logits: Tensor = self.layers(pictures)
        return logits

    def hinge(self, real: Tensor, made: Tensor) -> Tensor:
        """Its own loss `[N]`: real pictures above 1, made ones below -1; no gradient to `made`."""
        right, wrong = self(real), self(made.detach())
        return 0.5 * (F.relu(1 - right) + F.relu(1 + wrong)).flatten(1).mean(dim=1)

    def realness(self, made: Tensor) -> Tensor:
        """How real made pictures look `[N]`; its gradient goes to them alone."""
        own = {name: p.detach() for name, p in self.named_parameters()}
        logits: Tensor = functional_call(self, own, (made,))
        return logits.float().flatten(1).mean(dim=1)
