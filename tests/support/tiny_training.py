"""A training that takes a second: bright squares with dark discs, the smallest timm encoder, side 32.

Run as a script it trains in `sys.argv[1]` and writes the weights there; `sys.argv[2]` kills it hard after that epoch.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np

from plankseg.config import NetworkConfig, Recipe, TrainingConfig
from plankseg.learning.trainer import EpochReport, Example, Execution, Source, TrainedModel, TrainingTask, train

EXAMPLES = [Example(f"source-{i}", 1.0) for i in range(6)] + [
    Example(f"corrected-{i}", 10.0, is_correction=True) for i in range(2)
]
VALIDATION = [Example(f"validation-{i}", 1.0) for i in range(3)]


def load_mask(image_id: str) -> np.ndarray:
    """A disc whose size and place, and the image's odd size, follow from the name."""
    number = sum(image_id.encode())
    height, width = 20 + number % 17, 24 + number % 23
    rows, columns = np.mgrid[:height, :width]
    return (rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (5 + number % 4) ** 2


def load(image_id: str) -> np.ndarray:
    """The disc, dark on a light ground."""
    mask = load_mask(image_id)
    noise = np.random.default_rng(sum(image_id.encode())).integers(20, size=mask.shape)
    return np.where(mask, 60, 220).astype(np.uint8) + noise.astype(np.uint8)


def tiny_recipe(
    *, encoder: str = "tu-test_resnet", architecture: str = "Unet", freeze_encoder: bool = False, **training: object
) -> Recipe:
    """Three epochs of four steps."""
    defaults = {"side_px": 32, "epochs": 3, "batch_size": 2, "loader_workers": 0, "learning_rate": 1e-2}
    network = NetworkConfig(
        encoder=encoder, encoder_weights="none", architecture=architecture, freeze_encoder=freeze_encoder
    )
    return Recipe(network=network, training=TrainingConfig(**{**defaults, **training}))


def train_tiny(work_dir: Path, recipe: Recipe | None = None, **changes: object) -> TrainedModel:
    """The training, with whatever the test wants changed."""
    arguments = {
        "load": load,
        "load_mask": load_mask,
        "recipe": recipe or tiny_recipe(),
        "round_number": 1,
        "start": None,
        "work_dir": work_dir,
        "device": "cpu",
        "report": lambda _: None,
        "examples": EXAMPLES,
        "validation": VALIDATION,
    }
    arguments |= changes
    source = Source(arguments.pop("load"), arguments.pop("load_mask"))
    execution = Execution(arguments.pop("work_dir"), arguments.pop("device"))
    report = arguments.pop("report")
    return train(TrainingTask(source=source, **arguments), execution, report=report)


def _main(folder: Path, kill_after: int) -> None:
    def report(epoch: EpochReport) -> None:
        print(epoch.epoch, flush=True)
        if epoch.epoch == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    (folder / "weights").write_bytes(train_tiny(folder, report=report).weights)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
