"""A picture autoencoder that was trained here, as systems take one."""

from __future__ import annotations

from lightning_artv.checkpoints.file import Weights, load_part
from lightning_artv.errors import UserError
from lightning_artv.networks.autoencoder import DiffusersAutoencoder
from lightning_artv.systems.decoder.autoencoder import PictureAutoencoder


class TrainedAutoencoder(DiffusersAutoencoder):
    """The autoencoder of a `PictureAutoencoder`'s checkpoint, frozen.

    Args:
        path: path of the checkpoint.
        weights: the averaged weights (`ema`) or the `raw` ones.
        batch: frames encoded or decoded at once (bounds memory).

    Raises:
        UserError: a checkpoint of something else.
    """

    def __init__(self, path: str, weights: Weights = "ema", batch: int = 8) -> None:
        part = load_part(path, weights)
        if not isinstance(part, PictureAutoencoder):
            raise UserError(
                f"'{path}' holds {type(part).__name__}, not {PictureAutoencoder.__name__}: give "
                "the checkpoint of a picture autoencoder."
            )
        super().__init__(part.vae.requires_grad_(False).eval(), batch)
