from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.learning.network import Network, fit

Array = NDArray[np.float64]


def huber(network: Network, inputs: Array, targets: Array) -> float:
    error = np.abs(network.predict(inputs) - targets)
    return float(np.where(error <= 1, 0.5 * error**2, error - 0.5).sum(axis=1).mean())


def test_the_first_step_goes_against_the_gradient_of_the_huber_loss() -> None:
    rng = np.random.default_rng(0)
    inputs, targets = rng.standard_normal((7, 3)), 2 * rng.standard_normal((7, 2))
    network = Network((3, 5, 2), rng, learning_rate=1e-3)
    slopes = []
    for parameter in network._parameters:
        slope = np.zeros_like(parameter)
        for index in np.ndindex(parameter.shape):
            kept = parameter[index]
            parameter[index] = kept + 1e-6
            above = huber(network, inputs, targets)
            parameter[index] = kept - 1e-6
            slope[index] = (above - huber(network, inputs, targets)) / 2e-6
            parameter[index] = kept
        slopes.append(slope)
    before = [parameter.copy() for parameter in network._parameters]
    network.train(inputs, targets)
    # Adam's first step has the learning rate's length along each axis, whatever the slope.
    for old, new, slope in zip(before, network._parameters, slopes, strict=True):
        steep = np.abs(slope) > 1e-4
        np.testing.assert_allclose((new - old)[steep], -1e-3 * np.sign(slope[steep]), rtol=1e-3)
        np.testing.assert_array_equal((new - old)[slope == 0], 0.0)


def test_it_fits_a_function_that_no_line_fits() -> None:
    rng = np.random.default_rng(1)
    inputs = rng.uniform(-1, 1, (200, 1))
    network = Network((1, 32, 1), rng, learning_rate=1e-2)
    fit(network, inputs, np.abs(inputs), epochs=60, batch=32, rng=rng)
    assert np.abs(network.predict(inputs) - np.abs(inputs)).max() < 0.1


def test_one_outlier_does_not_move_it_far() -> None:
    rng = np.random.default_rng(2)
    inputs, targets = np.zeros((20, 1)), np.zeros((20, 1))
    targets[0] = 1000.0
    network = Network((1, 4, 1), rng, learning_rate=1e-2)
    fit(network, inputs, targets, epochs=300, batch=20, rng=rng)
    assert abs(network.predict(inputs)[0, 0]) < 0.2


def test_a_copy_says_the_same_and_goes_its_own_way() -> None:
    rng = np.random.default_rng(3)
    one, other = Network((2, 4, 1), rng), Network((2, 4, 1), rng)
    inputs = rng.standard_normal((5, 2))
    other.copy_from(one)
    np.testing.assert_array_equal(one.predict(inputs), other.predict(inputs))
    one.train(inputs, np.ones((5, 1)))
    assert not np.array_equal(one.predict(inputs), other.predict(inputs))
