"""half_plus_two: y = x/2 + 2, with every kind of signature that TensorFlow Serving knows.

The signatures and constants are those of TensorFlow Serving's own test model of that name
(``servables/tensorflow/testdata/saved_model_half_plus_two.py``), so that its documented examples work letter by
letter. It is written as a TF1 graph, because TF2 saves every signature as a predict signature.
"""

from __future__ import annotations

from pathlib import Path


def save_half_plus_two(path: Path, seed: int) -> None:
    """Write the model; ``seed`` has no effect, nothing about it is random."""
    del seed
    import tensorflow as tf

    v1 = tf.compat.v1
    saved_model = v1.saved_model
    with v1.Graph().as_default(), v1.Session() as session:
        a = v1.get_variable("a", initializer=0.5, use_resource=True)
        b = v1.get_variable("b", initializer=2.0, use_resource=True)
        c = v1.get_variable("c", initializer=3.0, use_resource=True)

        serialized = v1.placeholder(tf.string, shape=[None], name="tf_example")
        features = v1.io.parse_example(
            serialized,
            {
                "x": v1.io.FixedLenFeature([1], tf.float32),
                "x2": v1.io.FixedLenFeature([1], tf.float32, default_value=[0.0]),
            },
        )
        x_of_example = features["x"]
        y_of_example = tf.add(tf.multiply(a, x_of_example), b)
        y2_of_example = tf.add(tf.multiply(a, x_of_example), c)

        x = v1.placeholder(tf.float32, shape=[None], name="x")
        y = tf.add(tf.multiply(a, x), b, name="y")
        x2 = v1.placeholder(tf.float32, shape=[None, 1], name="x2")
        y3 = tf.add(tf.multiply(a, x2), c, name="y3")

        info = saved_model.build_tensor_info
        constants = saved_model.signature_constants

        def signature(method: str, inputs: dict[str, object], outputs: dict[str, object]) -> object:
            return saved_model.build_signature_def(
                {key: info(tensor) for key, tensor in inputs.items()},
                {key: info(tensor) for key, tensor in outputs.items()},
                method,
            )

        regress, classify = constants.REGRESS_METHOD_NAME, constants.CLASSIFY_METHOD_NAME
        signatures = {
            constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY: signature(constants.PREDICT_METHOD_NAME, {"x": x}, {"y": y}),
            "regress_x_to_y": signature(regress, {"inputs": serialized}, {"outputs": y_of_example}),
            "regress_x_to_y2": signature(regress, {"inputs": serialized}, {"outputs": y2_of_example}),
            "regress_x2_to_y3": signature(regress, {"inputs": x2}, {"outputs": y3}),
            "classify_x_to_y": signature(classify, {"inputs": serialized}, {"scores": y_of_example}),
            "classify_x2_to_y3": signature(classify, {"inputs": x2}, {"scores": y3}),
        }
        session.run(v1.global_variables_initializer())
        builder = saved_model.builder.SavedModelBuilder(str(path))
        builder.add_meta_graph_and_variables(session, [saved_model.tag_constants.SERVING], signature_def_map=signatures)
        builder.save()
