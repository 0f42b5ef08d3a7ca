"""Network: a small multilayer perceptron in plain NumPy, for policies that were published with one.

ReLU between layers, none after the last; Huber loss; Adam. It is retrained at each step of a policy, thousands of
times, on hundreds of rows: a framework would spend its time on everything else, and the service does not import
TensorFlow.

Notation: layer l maps x to relu(x W_l + b_l), ``W_l`` of shape (inputs, outputs). With error e the loss is ½e² for
|e| ≤ 1, |e| − ½ beyond; its gradient is e clipped to [−1, 1].
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Adam's decay rates and guard against division by zero, as its authors give them (Kingma and Ba, 2015).
_DECAY_MEAN, _DECAY_SQUARE, _EPSILON = 0.9, 0.999, 1e-8


class Network:
    """A perceptron with its optimiser's state.

    Args:
        sizes: Width of the input, of each hidden layer, of the output.
        rng: Draws the initial weights (He et al. 2015).
        learning_rate: Adam's step.
    """

    def __init__(self, sizes: Sequence[int], rng: np.random.Generator, *, learning_rate: float = 1e-3) -> None:
        self._rate = learning_rate
        self._steps = 0
        self._parameters: list[Array] = []
        for inputs, outputs in itertools.pairwise(sizes):
            self._parameters.append(rng.standard_normal((inputs, outputs)) * np.sqrt(2 / inputs))
            self._parameters.append(np.zeros(outputs))
        self._means = [np.zeros_like(p) for p in self._parameters]
        self._squares = [np.zeros_like(p) for p in self._parameters]

    def predict(self, inputs: Array) -> Array:
        """Outputs of shape (n, outputs) for inputs of shape (n, inputs)."""
        return self._forward(inputs)[-1]

    def train(self, inputs: Array, targets: Array) -> None:
        """One step of Adam down the Huber loss, summed over outputs and averaged over rows.

        Args:
            inputs: Shape (n, inputs).
            targets: Shape (n, outputs).
        """
        layers = self._forward(inputs)
        slope = np.clip(layers[-1] - targets, -1.0, 1.0) / len(inputs)
        gradients: list[Array] = []
        for layer in reversed(range(len(layers) - 1)):
            weights = self._parameters[2 * layer]
            gradients[:0] = [layers[layer].T @ slope, slope.sum(axis=0)]
            if layer:
                slope = (slope @ weights.T) * (layers[layer] > 0)
        self._descend(gradients)

    def copy_from(self, other: Network) -> None:
        """Take over another network's weights; both must have the same sizes."""
        for mine, theirs in zip(self._parameters, other._parameters, strict=True):
            mine[...] = theirs

    def _forward(self, inputs: Array) -> list[Array]:
        """The inputs, then what each layer makes of them."""
        layers = [inputs]
        count = len(self._parameters) // 2
        for layer in range(count):
            values = layers[-1] @ self._parameters[2 * layer] + self._parameters[2 * layer + 1]
            layers.append(np.maximum(values, 0.0) if layer < count - 1 else values)
        return layers

    def _descend(self, gradients: Sequence[Array]) -> None:
        self._steps += 1
        step = self._rate * np.sqrt(1 - _DECAY_SQUARE**self._steps) / (1 - _DECAY_MEAN**self._steps)
        for parameter, mean, square, gradient in zip(
            self._parameters, self._means, self._squares, gradients, strict=True
        ):
            mean += (1 - _DECAY_MEAN) * (gradient - mean)
            square += (1 - _DECAY_SQUARE) * (gradient * gradient - square)
            parameter -= step * mean / (np.sqrt(square) + _EPSILON)


def fit(network: Network, inputs: Array, targets: Array, *, epochs: int, batch: int, rng: np.random.Generator) -> None:
    """Train on all rows ``epochs`` times, in mini-batches drawn in a new order each time.

    Args:
        network: What is trained.
        inputs: Shape (n, inputs).
        targets: Shape (n, outputs).
        epochs: Passes over the rows.
        batch: Rows in one step.
        rng: Draws the orders.
    """
    for _ in range(epochs):
        order = rng.permutation(len(inputs))
        for first in range(0, len(order), batch):
            rows = order[first : first + batch]
            network.train(inputs[rows], targets[rows])
