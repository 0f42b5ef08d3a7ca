"""The Keras models of the zoo.

They are written with ``keras.Model.export``: a Keras 3 model passed to ``tf.saved_model.save`` restores its variables
under other names and cannot be loaded into a v1 session.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Size of the transformer's vocabulary; token ids lie below it.
VOCABULARY = 8192


def _save(build: Callable[[Any], Any], path: Path, seed: int) -> None:
    import keras

    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    build(keras).export(str(path), verbose=False)


def save_mlp(path: Path, seed: int) -> None:
    """784 → 1024 → 1024 → 10."""

    def build(keras: Any) -> Any:
        layers = keras.layers
        image = keras.Input((784,), name="image")
        hidden = layers.Dense(1024, activation="relu")(image)
        hidden = layers.Dense(1024, activation="relu")(hidden)
        return keras.Model(image, layers.Dense(10, activation="softmax")(hidden), name="mlp")

    _save(build, path, seed)


def save_cnn(path: Path, seed: int) -> None:
    """Three convolutions over a 32×32×3 image, then ten classes."""

    def build(keras: Any) -> Any:
        layers = keras.layers
        image = keras.Input((32, 32, 3), name="image")
        hidden = image
        for channels in (32, 64, 64):
            hidden = layers.Conv2D(channels, 3, padding="same", activation="relu")(hidden)
            hidden = layers.MaxPooling2D()(hidden)
        hidden = layers.Dense(64, activation="relu")(layers.Flatten()(hidden))
        return keras.Model(image, layers.Dense(10, activation="softmax")(hidden), name="cnn")

    _save(build, path, seed)


def save_mobilenet_v2(path: Path, seed: int) -> None:
    """``keras.applications.MobileNetV2``, width 0.5, 96×96×3, random weights."""

    def build(keras: Any) -> Any:
        return keras.applications.MobileNetV2(
            input_tensor=keras.Input((96, 96, 3), name="image"), alpha=0.5, weights=None, classes=1000
        )

    _save(build, path, seed)


def save_transformer(path: Path, seed: int) -> None:
    """Two pre-norm encoder layers of width 128 with four heads over 128 token ids; two classes."""

    def build(keras: Any) -> Any:
        layers, ops = keras.layers, keras.ops
        width, length = 128, 128
        ids = keras.Input((length,), dtype="int32", name="ids")
        hidden = layers.Embedding(VOCABULARY, width)(ids)
        hidden = hidden + layers.Embedding(length, width)(ops.arange(length))
        for _ in range(2):
            normed = layers.LayerNormalization()(hidden)
            hidden = hidden + layers.MultiHeadAttention(4, width // 4)(normed, normed)
            normed = layers.LayerNormalization()(hidden)
            hidden = hidden + layers.Dense(width)(layers.Dense(4 * width, activation="gelu")(normed))
        pooled = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(hidden))
        return keras.Model(ids, layers.Dense(2, activation="softmax")(pooled), name="transformer")

    _save(build, path, seed)
