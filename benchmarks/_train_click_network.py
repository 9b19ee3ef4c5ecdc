"""Train the click network on drawn scenes and write its weights; no real image is needed. Last line: JSON.

usage: _train_click_network.py OUT.safetensors [--steps 1800] [--rate 0.003] [--start IN.safetensors] [--seed 0]

A step costs 0.2 s of one core. The installed weights (plankseg/interactive/click_network.safetensors) are such a file,
in half precision; docs/assistant.md says how they were trained.
"""

import json
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import load_file, save_file

from plankseg.interactive.click_network import ClickNetwork
from plankseg.interactive.click_training import ClickTraining, train_click_network


def main(
    out: Path,
    steps: int = 1800,
    rate: float = 3e-3,
    seed: int = 0,
    start: Annotated[Path | None, typer.Option(help="Weights to go on from.")] = None,
) -> None:
    """Train, write and print."""
    torch.set_num_threads(1)
    network = None
    if start is not None:
        network = ClickNetwork()
        network.load_state_dict({name: tensor.float() for name, tensor in load_file(start).items()})
    started, last = time.perf_counter(), 0.0

    def report(step: int, loss: float) -> None:
        nonlocal last
        last = loss
        print(f"  step {step}: {loss:.4f}, {time.perf_counter() - started:.0f} s", flush=True)

    training = ClickTraining(steps=steps, learning_rate=rate, seed=seed)
    trained = train_click_network(training, start=network, report=report).state_dict()
    halved = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in trained.items()}
    save_file({name: tensor.contiguous() for name, tensor in halved.items()}, out)
    print(json.dumps({"steps": steps, "loss": round(last, 4), "seconds": round(time.perf_counter() - started)}))


if __name__ == "__main__":
    typer.run(main)
