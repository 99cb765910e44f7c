"""Messages of libraries that no user can act on are left out; all others stay."""

from __future__ import annotations

import logging
import warnings

_LOGGED = {
    # advertisements at each run
    "lightning.pytorch.utilities.rank_zero": "Tip: For seamless cloud",
    # said of each part of a pipeline by `.to(dtype)`, about no module at all
    "diffusers.models.modeling_utils": "kept in float32: []",
}
_WARNED = (
    # Lightning's own use of PyTorch's trees
    (r".*(LeafSpec|TreeSpec|treespec)", FutureWarning),
    (r".*(LeafSpec|TreeSpec|treespec)", DeprecationWarning),
    # networks that stay as they are, which is meant
    (r"Found \d+ module\(s\) in eval mode at the start of training", UserWarning),
    # a run without a validation set has an empty list of them
    (r"Total length of `list` across ranks is zero", UserWarning),
)


class _Without(logging.Filter):
    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words

    def filter(self, record: logging.LogRecord) -> bool:
        return self.words not in record.getMessage()


def silence() -> None:
    """Leave these messages out from now on; may be called again."""
    for name, words in _LOGGED.items():
        logger = logging.getLogger(name)
        if not any(isinstance(known, _Without) for known in logger.filters):
            logger.addFilter(_Without(words))
    for words, category in _WARNED:
        warnings.filterwarnings("ignore", words, category)
