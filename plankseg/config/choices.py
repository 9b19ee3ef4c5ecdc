"""The names among which settings choose."""

from collections.abc import Mapping
from typing import Literal

Architecture = Literal["Unet", "DeepLabV3Plus"]
AssistMethod = Literal["network", "contrast", "disc"]
Augmentation = Literal["basic", "occlusion", "affine", "domain", "specialized"]
BackendName = Literal[
    "torch", "torch-bf16", "folded", "folded-bf16", "compiled", "compiled-bf16", "openvino", "openvino-bf16"
]
RecipeName = Literal["laptop", "quality", "published"]
RecipeChoice = Literal[RecipeName, "own"]  # own: every number is one's own
ScoringName = Literal[BackendName, "openvino-int8"]  # good enough to rank images by, not for masks
ComputingName = Literal[ScoringName, "onnxruntime"]  # exported graphs

Measure = Literal["variance", "entropy", "jsd", "dice", "conventional"]
"""By what an image is found uncertain."""

UNCERTAINTY: Mapping[Measure, str] = {
    "variance": "how far the model's probabilities for several views of the image spread (variance)",
    "entropy": "how undecided the mean of the model's probabilities for several views is (entropy)",
    "jsd": "how far the model's probabilities for single views lie from their mean (Jensen-Shannon divergence)",
    "dice": "how little the masks of single views overlap that of their mean (1 - Dice)",
    "conventional": "how far the model's mask is from the automatic one",
}
"""What a measure of uncertainty says, as half a sentence."""

SelectorName = Literal[
    "stochastic_batches", "random", "top_k", "stratified", "power", "stratified_power", "typical_first", "core_set"
]
"""How a batch is chosen."""

ArmName = Literal[
    "random",
    "stratified",
    "published",
    "published-controls",
    "partition",
    "top-k",
    "power",
    "stratified-power",
    "typical-first",
    "core-set",
    "entropy",
    "jsd",
    "dice",
    "band",
    "outline-entropy",
    "outline-batches",
    "outline-stratified",
    "dihedral",
    "conventional",
    "weight-1",
    "share-half",
    "growing",
    "constant",
    "wrong-inverse",
    "oracle",
]
"""The arms of a simulation: what differs from the recipe that all share, see `pipeline.simulation.arms`."""
