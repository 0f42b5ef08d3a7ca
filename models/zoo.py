"""The catalogue: which models there are, and what one example of each looks like.

No TensorFlow here, so that listing the zoo is instant; the builders live in the modules that the entries name.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of the serving signature.

    Attributes:
        shape: Shape of one example, without the batch dimension.
        dtype: NumPy name of the element type.
        upper: Values are drawn from [0, upper); for token ids the size of the vocabulary.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    upper: float = 1.0


@dataclass(frozen=True, slots=True)
class ZooModel:
    """One entry of the zoo.

    Attributes:
        name: Its name, also the name of its folder and the model name to serve it under.
        summary: What it is, in a line.
        inputs: Inputs of ``serving_default`` by name.
        module: Module of this package with a ``save_NAME(path, seed)`` function.
    """

    name: str
    summary: str
    inputs: MappingProxyType[str, InputSpec]
    module: str


def _entry(name: str, summary: str, module: str, **inputs: InputSpec) -> ZooModel:
    return ZooModel(name, summary, MappingProxyType(inputs), module)


#: Every model of the zoo, by name.
ZOO: MappingProxyType[str, ZooModel] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            _entry(
                "half_plus_two",
                "y = x/2 + 2, with predict, classify and regress signatures",
                "models.half_plus_two",
                x=InputSpec((), upper=10.0),
            ),
            _entry("mlp", "784→1024→1024→10, a light model", "models.keras_models", image=InputSpec((784,))),
            _entry("cnn", "three convolutions over 32×32×3", "models.keras_models", image=InputSpec((32, 32, 3))),
            _entry(
                "mobilenet_v2",
                "MobileNetV2, α = 0.5, 96×96×3, a heavy model for a CPU",
                "models.keras_models",
                image=InputSpec((96, 96, 3)),
            ),
            _entry(
                "transformer",
                "two encoder layers over 128 token ids",
                "models.keras_models",
                ids=InputSpec((128,), "int32", 8192),
            ),
        )
    }
)
