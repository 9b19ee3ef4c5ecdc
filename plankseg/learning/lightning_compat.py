"""Imports of lightning that work beside any torchvision.

Only what trains imports them: they take seconds to load.
"""

from plankseg.learning.network.torchvision_operators import declare_missing_operators

declare_missing_operators()

import lightning.pytorch as lightning  # noqa: E402
from lightning.pytorch.plugins.environments import LightningEnvironment  # noqa: E402

__all__ = ["LightningEnvironment", "lightning"]
