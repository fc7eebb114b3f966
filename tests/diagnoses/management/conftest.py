"""The tiny models of `tests/ml`, for commands that read a model."""

from tests.ml.conftest import (
    cache_dir,
    plain_card,
    shared_weights_dir,
    tiny_card,
    tiny_weights_dir,
)

__all__ = [
    "cache_dir",
    "plain_card",
    "shared_weights_dir",
    "tiny_card",
    "tiny_weights_dir",
]
