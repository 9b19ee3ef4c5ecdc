"""The rank of one process among those that train a network together."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProcessRank:
    """Process `rank` of `world_size` (from 0), which accumulates gradients over `accumulation_steps` in each step."""

    rank: int = 0
    world_size: int = 1
    accumulation_steps: int = 1


SINGLE_PROCESS = ProcessRank()
