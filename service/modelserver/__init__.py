"""The embedded model server: TensorFlow Serving's APIs, flags, metrics and errors, with every knob hot."""
