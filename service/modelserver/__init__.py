"""The embedded model server: TensorFlow Serving's APIs, flags, metrics and errors, with every knob hot.

TensorFlow reads its environment when it is imported, and importing the official messages imports all of it; so the
environment is set here, before any module of this package can do so.
"""

import os

# Every session gets thread pools of its own; without it the first session's sizes would bind all later ones.
os.environ["TF_OVERRIDE_GLOBAL_THREADPOOL"] = "1"
# TensorFlow's start-up chatter (1 = no INFO, 2 = no WARNING either) unless somebody asks for it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# No search for a graphics card in the log of a processor-only machine; oneDNN's notice is of the same kind.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Importing TensorFlow also imports Keras, which nothing here uses: 40 % of the time until a server serves.
# Told to take the retired Keras 2, which is not installed, it takes none; `import keras` itself is not concerned.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
