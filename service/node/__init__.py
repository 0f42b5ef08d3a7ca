"""The node: an agent that runs ``tensorflow_model_server`` processes behind Envoy and changes them without loss.

A change starts new processes beside the old ones, moves Envoy's endpoints, lets the old ones finish, and ends them.
Pure: ``arguments``, ``batching_file``, ``buckets``, ``envoy_config``, ``envoy_stats``, ``crashes``, ``memory``,
``metrics_page``, ``state``, ``switch``. The rest acts. Nothing here imports TensorFlow or the embedded server: the
server is a program like any other, given by its path.
"""
