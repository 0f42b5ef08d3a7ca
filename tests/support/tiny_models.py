"""A small TF2 SavedModel with what the zoo lacks: several inputs and outputs, strings, tables, outputs without rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

WORDS = ("apple", "pear", "plum")


def save_many(path: Path) -> Path:
    """Write the model to ``path``, a version directory.

    Signatures, ``?`` being any size and ``w`` a variable of value 10:

    - ``serving_default``: ``a`` float [?, ?], ``b`` int64 [?] → ``sum`` = w · Σ_row a + b, ``text`` = b as a string
    - ``total``: ``x`` float [?] → ``y`` = 2 x, ``sum`` = Σ x, a scalar
    - ``positive``: ``x`` float [?] → ``y`` = x; fails when any x is negative
    - ``lookup``: ``word`` string [?] → ``id`` int64 [?], from a vocabulary file among the assets
    - ``fixed``: ``x`` float [2] → ``y`` = x + 1
    """
    vocabulary = path.parent / f"{path.name}-words.txt"
    vocabulary.parent.mkdir(parents=True, exist_ok=True)
    vocabulary.write_text("\n".join(WORDS))
    module = tf.Module()
    module.w = tf.Variable(10.0)
    module.table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(vocabulary),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        -1,
    )

    def function(body: Any, **inputs: Any) -> Any:
        return tf.function(body, autograph=False).get_concrete_function(**inputs)

    def positive(x: Any) -> Any:
        with tf.control_dependencies([tf.debugging.assert_non_negative(x, "x must not be negative")]):
            return {"y": tf.identity(x)}

    spec = tf.TensorSpec
    signatures = {
        "serving_default": function(
            lambda a, b: {
                "sum": module.w * tf.reduce_sum(a, axis=1) + tf.cast(b, tf.float32),
                "text": tf.strings.as_string(b),
            },
            a=spec([None, None], tf.float32, name="a"),
            b=spec([None], tf.int64, name="b"),
        ),
        "total": function(lambda x: {"y": 2.0 * x, "sum": tf.reduce_sum(x)}, x=spec([None], tf.float32, name="x")),
        "positive": function(positive, x=spec([None], tf.float32, name="x")),
        "lookup": function(lambda word: {"id": module.table.lookup(word)}, word=spec([None], tf.string, name="word")),
        "fixed": function(lambda x: {"y": x + 1.0}, x=spec([2], tf.float32, name="x")),
    }
    tf.saved_model.save(module, str(path), signatures=signatures)
    vocabulary.unlink()
    return path
