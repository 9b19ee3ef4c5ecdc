"""Speed of scoring against one image at a time and against the machine's limit. Last line: JSON.

usage: scoring.py [--images 60] [--side-px 256]           (about five minutes on two quiet cores)

The rival is the published way: one image at a time, decoded anew for each of five views, five eager fp32 forward passes
of one square. Both take the same real images (those below PLANKSEG_REAL_DATA; synthetic ones without it, which the
output says), the same U-Net on ResNet-34, trained for some steps on synthetic images, and the same seed of the noisy
view. Everything is measured in turn on a part of the images, round after round; a figure is the median of the rounds'.
The bounds are held against wall time; `_by_cpu` is the same by the processor time of all threads, for a busy machine.
What ranks images may be in 8 bits; what makes masks is not, and is measured beside it.
"Forward only" is the backend on squares that are ready in all views; what it does itself to their pixels is in it.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `plankseg up` sets it; read when torch is loaded

import numpy as np
import torch
import typer
from _real_data import found as real_data

from plankseg.config import InferenceConfig, NetworkConfig, QueryConfig, ScoringName
from plankseg.imaging.arrays import Grey
from plankseg.imaging.framing import Framing
from plankseg.imaging.letterbox import Letterbox
from plankseg.imaging.reading import read_grey
from plankseg.imaging.synthetic.generator import draw_sample
from plankseg.inference.backend_benchmark import (
    INT8,
    BenchmarkConfig,
    BenchmarkResult,
    benchmark_backends,
    rank_correlation,
)
from plankseg.inference.backends import Backend, backends_here, machine, make_backend
from plankseg.inference.openvino_models import has_openvino
from plankseg.inference.predictor import TTAPredictor
from plankseg.inference.quantization import quantized_backend, quantizes_here
from plankseg.inference.tta import views_of
from plankseg.inference.uncertainty import mean_inside
from plankseg.learning.network.architecture import build_network
from plankseg.learning.network.precision import autocast, uses_bf16
from plankseg.learning.network.preprocessing import batch_tensor
from plankseg.learning.network.torchvision_compat import smp

CPU = torch.device("cpu")
QUERY = QueryConfig()
ROUNDS = 5
BACKENDS = ("default", "masks", "fp32")
TRAINING_STEPS, TRAINING_PX = 40, 128
MATRIX = 2048
SUFFIXES = {".jpg", ".jpeg", ".png"}
AT_LEAST = {
    "default_speedup": 6.0,  # held against a processor with bf16 only
    "fp32_speedup": 1.8,
    "default_spearman": 0.99,
    "fp32_spearman": 0.9999,
    "end_to_end_share": 0.9,
    "fp32_share_of_matrix_product": 0.85,
}


def image_files(count: int) -> tuple[list[bytes], str]:
    """Files of images and what they are: real ones evenly over all folders, or synthetic ones where there are none."""
    given = os.environ.get("PLANKSEG_REAL_DATA")
    folder = real_data(Path(given) if given else None)
    if folder is None:
        return [draw_sample("noisy", seed).jpeg for seed in range(count)], "synthetic (PLANKSEG_REAL_DATA is not set)"
    found = sorted(p for p in (folder / "zooscannet-sample").rglob("*") if p.suffix.lower() in SUFFIXES)
    places = np.linspace(0, len(found) - 1, count).round().astype(int)
    return [found[index].read_bytes() for index in places], f"real: {count} of {len(found)} of zooscannet-sample"


def trained_network() -> torch.nn.Module:
    """A network that has seen some objects, so that its scores rank images by something."""
    torch.manual_seed(0)
    network = build_network(NetworkConfig(encoder_weights="none"))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    loss = smp.losses.TverskyLoss("binary", alpha=0.7, beta=0.3)
    samples = [draw_sample("clean" if seed % 2 else "noisy", seed) for seed in range(8 * TRAINING_STEPS)]
    boxes = [Letterbox.of(sample.grey.shape, TRAINING_PX) for sample in samples]
    for step in range(TRAINING_STEPS):
        part = slice(8 * step, 8 * step + 8)
        pairs = list(zip(boxes[part], samples[part], strict=True))
        images = batch_tensor(np.stack([box.apply(sample.grey) for box, sample in pairs]))
        masks = torch.from_numpy(np.stack([box.apply_mask(sample.mask) for box, sample in pairs])).float().unsqueeze(1)
        with autocast("auto", CPU):
            logits = network(images)
        loss(logits.float(), masks).backward()
        optimizer.step()
        optimizer.zero_grad()
    return network.eval()


class OneAtATime:
    """The published way."""

    def __init__(self, network: torch.nn.Module, side_px: int) -> None:
        self.network = build_network(NetworkConfig(encoder_weights="none")).to(memory_format=torch.contiguous_format)
        self.network.load_state_dict(network.state_dict())
        self.network.eval()
        self.side_px = side_px

    def score(self, files: dict[str, bytes]) -> dict[str, float]:
        """The uncertainty of each image."""
        return {name: self._score(name, data) for name, data in files.items()}

    def _score(self, name: str, data: bytes) -> float:
        seen = []
        for view in views_of(QUERY):
            grey = read_grey(data)
            letterbox = Letterbox.of(grey.shape, self.side_px)
            square = view.do(torch.from_numpy(letterbox.apply(grey)[None]), [name])
            with torch.no_grad():
                probability = torch.sigmoid(self.network(batch_tensor(square.contiguous().numpy()))[:, 0])
            seen.append(view.undo(probability)[0].numpy())
        return mean_inside(np.var(np.stack(seen), axis=0), letterbox)


def seconds_of(work: Callable[[], object]) -> np.ndarray:
    """Wall seconds, and processor seconds of all threads, which a busy machine does not lengthen."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return np.array([time.perf_counter() - wall, time.process_time() - cpu])


def forward_flop(network: torch.nn.Module, side_px: int) -> int:
    """Multiplications and additions of all convolutions for one square."""
    total = 0

    def count(layer: torch.nn.Conv2d, _: object, output: torch.Tensor) -> None:
        nonlocal total
        height, width = layer.kernel_size
        total += 2 * output.numel() * (layer.in_channels // layer.groups) * height * width

    layers = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        network(torch.zeros(1, 3, side_px, side_px))
    for hook in hooks:
        hook.remove()
    return total


def squares_in_views(files: dict[str, bytes], side_px: int) -> torch.Tensor:
    greys = {name: read_grey(data) for name, data in files.items()}
    squares = np.stack([Letterbox.of(grey.shape, side_px).apply(grey) for grey in greys.values()])
    return torch.cat([view.do(torch.from_numpy(squares), list(files)) for view in views_of(QUERY)])


def forward_only(backend: Backend, ready: torch.Tensor) -> None:
    for part in ready.split(30):
        backend.logits(part)


def matrix_products(precision: str) -> dict[str, Callable[[], object]]:
    """A square matrix product by whoever can make one here: torch's own is not the fastest on every processor."""
    one = torch.rand(MATRIX, MATRIX)
    same = one.bfloat16() if precision == "bf16" else one
    products: dict[str, Callable[[], object]] = {"torch": lambda: torch.mm(same, same)}
    if has_openvino():
        import openvino
        from openvino import opset13

        from plankseg.inference.openvino_models import openvino_core

        given = opset13.parameter([MATRIX, MATRIX], np.float32)
        product = opset13.matmul(given, opset13.constant(one.numpy()), False, False)
        options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        compiled = openvino_core().compile_model(openvino.Model([product], [given]), "CPU", options)
        request = compiled.create_infer_request()
        products["openvino"] = lambda: request.infer({0: one.numpy()})
    return products


def matrix_product_rate(products: dict[str, Callable[[], object]]) -> np.ndarray:
    """Floating point operations a second of the fastest, each the best of five."""
    quickest = [np.min([seconds_of(work) for _ in range(5)], axis=0) for work in products.values()]
    return 2 * MATRIX**3 / np.min(quickest, axis=0)


def try_all(
    network: torch.nn.Module, files: Sequence[bytes], side_px: int
) -> tuple[BenchmarkResult, float, BenchmarkResult]:
    """What `propose` would find out, in how many seconds, and what it would find where a recipe says fp32."""
    greys: dict[str, Grey] = {f"{index:04d}": read_grey(data) for index, data in enumerate(files)}

    def found(names: Sequence[ScoringName]) -> BenchmarkResult:
        config = BenchmarkConfig(QUERY, Framing(side_px), InferenceConfig(), to_score=QUERY.batches * QUERY.batch_size)
        return benchmark_backends(network, greys, names, config, CPU)

    started = time.perf_counter()
    as_proposed = found([*backends_here(CPU), *([INT8] if quantizes_here(CPU) else [])])
    return as_proposed, time.perf_counter() - started, found(backends_here(CPU, "fp32"))


def backends_of(found: BenchmarkResult, in_fp32: BenchmarkResult, network: torch.nn.Module) -> dict[str, Backend]:
    """What ranks images by default, what makes their masks, and the fastest in fp32."""
    masks = make_backend(found.for_masks, network, CPU)
    in_8_bits = found.for_scores == INT8 and found.quantized is not None
    default = quantized_backend(found.quantized, CPU) if in_8_bits else masks
    return {"default": default, "masks": masks, "fp32": make_backend(in_fp32.for_masks, network, CPU)}


def _figures(times: dict[str, np.ndarray], *, images: int, flop: int, rates: dict[str, np.ndarray]) -> dict[str, float]:
    """What a round's times say: by the wall, and again by processor time."""
    both = {
        "default_speedup": times["rival"] / times["default"],
        "masks_speedup": times["rival"] / times["masks"],
        "fp32_speedup": times["rival"] / times["fp32"],
        "end_to_end_share": times["default_forward"] / times["default"],
        "fp32_end_to_end_share": times["fp32_forward"] / times["fp32"],
        **{f"{name}_share_of_matrix_product": flop / times[f"{name}_forward"] / rates[name] for name in rates},
        **{f"{name}_forward_gflops": flop / times[f"{name}_forward"] / 1e9 for name in BACKENDS},
        **{f"{name}_matrix_product_gflops": rates[name] / 1e9 for name in rates},
        "rival_gflops": flop / times["rival"] / 1e9,
        **{f"{name}_images_per_s": images / times[name] for name in ("rival", *BACKENDS)},
    }
    return {f"{name}{how}": float(pair[n]) for name, pair in both.items() for n, how in enumerate(("", "_by_cpu"))}


def main(images: int = 60, side_px: int = 256) -> None:
    """Measure, print, and exit 0 only if every bound holds."""
    tried_on = InferenceConfig().calibration_images
    data, source = image_files(images + tried_on)
    network = trained_network()
    found, calibrated, in_fp32 = try_all(network, data[images:], side_px)
    files = {f"{index:04d}": content for index, content in enumerate(data[:images])}
    rival, flop = OneAtATime(network, side_px), forward_flop(network, side_px)
    backends = backends_of(found, in_fp32, network)
    for backend in backends.values():
        backend.logits(torch.zeros(30, side_px, side_px, dtype=torch.uint8))
    kinds = {"fp32": "f32", "masks": "bf16" if found.for_masks.endswith("-bf16") else "f32"}
    products = {name: matrix_products(kind) for name, kind in kinds.items()}
    scores: dict[str, dict[str, float]] = {name: {} for name in ("rival", *backends)}
    rounds: list[dict[str, float]] = []
    for number in range(ROUNDS):
        part = dict(list(files.items())[number::ROUNDS])
        ready = squares_in_views(part, side_px)
        times = {"rival": seconds_of(lambda part=part: scores["rival"].update(rival.score(part)))}
        for name, backend in backends.items():

            def ours(name: str = name, backend: Backend = backend, part: dict[str, bytes] = part) -> None:
                load = lambda image_id: read_grey(part[image_id])  # noqa: E731
                scores[name] |= TTAPredictor(backend, load, QUERY, Framing(side_px)).score(list(part))

            times[name] = seconds_of(ours)
            times[f"{name}_forward"] = seconds_of(lambda backend=backend, ready=ready: forward_only(backend, ready))
        print(number, {name: value.round(2).tolist() for name, value in times.items()}, file=sys.stderr)
        rates = {name: matrix_product_rate(work) for name, work in products.items()}
        rounds.append(_figures(times, images=len(part), flop=flop * len(ready), rates=rates))
    figures = {name: median(measured[name] for measured in rounds) for name in rounds[0]}
    expected = [scores["rival"][name] for name in files]
    for name in backends:
        figures[f"{name}_spearman"] = rank_correlation([scores[name][i] for i in files], expected)
    figures["calibration_s"] = calibrated
    held = dict(AT_LEAST)
    if not uses_bf16("auto", CPU):
        del held["default_speedup"]
    result = {
        "images": source,
        "machine": machine(CPU),
        "backends": {name: backend.name for name, backend in backends.items()},
        "trials": [trial.model_dump(exclude_none=True) for trial in found.trials + in_fp32.trials[1:]],
        "lowest_and_highest": {
            name: [
                round(min(measured[name] for measured in rounds), 3),
                round(max(measured[name] for measured in rounds), 3),
            ]
            for name in rounds[0]
        },
        "figures": {name: round(value, 5) for name, value in figures.items()},
        "bounds": {name: f">= {bound}" for name, bound in held.items()},
        "ok": all(figures[name] >= bound for name, bound in held.items()),
    }
    print(json.dumps(result))
    raise SystemExit(0 if result["ok"] else 1)


if __name__ == "__main__":
    typer.run(main)
