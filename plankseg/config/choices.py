"""The names among which settings choose."""

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
