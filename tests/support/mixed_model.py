"""A SavedModel with several inputs and outputs of all the kinds that JSON treats differently."""

from __future__ import annotations

from pathlib import Path

NAME = "mixed"


def save_mixed_model(base_path: Path, version: int = 1) -> None:
    """Write ``base_path/VERSION``.

    ``serving_default`` takes ``label`` (string [n]), ``image_bytes`` (string [n]), ``ids`` (int64 [n, 2]) and ``ratio``
    (float [n, 2]); it answers ``label`` and ``image_bytes`` as they came, ``total`` (sum of the ids, int64 [n]) and
    ``quotient`` (first by second of ``ratio``, float [n]: 1/0 is infinite, 0/0 is not a number).
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        inputs = {
            "label": v1.placeholder(tf.string, [None], "label"),
            "image_bytes": v1.placeholder(tf.string, [None], "image_bytes"),
            "ids": v1.placeholder(tf.int64, [None, 2], "ids"),
            "ratio": v1.placeholder(tf.float32, [None, 2], "ratio"),
        }
        outputs = {
            "label": tf.identity(inputs["label"]),
            "image_bytes": tf.identity(inputs["image_bytes"]),
            "total": tf.reduce_sum(inputs["ids"], axis=1),
            "quotient": inputs["ratio"][:, 0] / inputs["ratio"][:, 1],
        }
        v1.saved_model.simple_save(session, str(base_path / str(version)), inputs, outputs)
