"""A network as the folder that `segmentation_models_pytorch` itself writes and reads, without code of plankseg."""

import tempfile
from pathlib import Path

from plankseg.config import NetworkConfig
from plankseg.learning.network.architecture import plain_network
from plankseg.learning.network.encoder_weights import load_strictly, read_tensors
from plankseg.learning.network.input_normalisation import DEVIATION, MEAN, normalisation_of

_CARD = """# The network for segmentation_models_pytorch

```python
import segmentation_models_pytorch as smp

network = smp.from_pretrained("smp").eval()
```

Input: float32 `(n, 3, side, side)`, sides multiples of 16; the grey of a pixel, 0 to 255, in each of the three
channels as `(grey / 255 - mean) / deviation` with

- mean {mean}
- deviation {deviation}

These are the encoder's own; the other files of this model take the common ones and convert them. Output: logits
`(n, 1, side, side)`. How an image becomes a square, what is done to a mask, how good the model is and which licences it
has say `model.json` and `README.md` one folder up.
"""


def smp_files(config: NetworkConfig, weights: bytes) -> dict[str, bytes]:
    """The files of `save_pretrained` for a model's safetensors, by name; `smp.from_pretrained` reads their folder.

    An encoder that converts its input (`input_normalisation`) does not do so there: the card names what it expects.
    Raises what `build_network` raises.
    """
    tensors = read_tensors(weights, "The stored model")
    expected = normalisation_of(tensors)
    network = plain_network(config)
    own = {name: tensor for name, tensor in tensors.items() if name not in (f"encoder.{MEAN}", f"encoder.{DEVIATION}")}
    load_strictly(network, own, "The stored model")
    with tempfile.TemporaryDirectory() as name:
        network.save_pretrained(name)
        files = {path.name: path.read_bytes() for path in sorted(Path(name).iterdir())}
    # Its own card claims a licence for the weights that nobody gave.
    return files | {"README.md": _CARD.format(mean=expected.mean, deviation=expected.deviation).encode()}
