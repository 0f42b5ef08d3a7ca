"""SampleLoad: one short, typical run of arrivals for a load, the same for all configurations that are compared.

A tail read from a few hundred arrivals depends on which they are. So the gaps are the quantiles of their distribution
(rate and burstiness are then exact) in an order chosen from several: the one whose queue behaves most like their mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtri

from service.domain.workload import Workload

Array = NDArray[np.float64]

#: Orders among which the typical one is chosen, and the utilisations at which their queues are compared.
_ORDERS = 32
_UTILISATIONS = (0.5, 0.7, 0.85)
#: Burstiness is rounded to steps of this ratio, so that noise in its estimate does not make another sample.
_CV_STEP = 0.1
#: More regular than this is regular; burstier than that is beyond what a short run can show.
_CV_RANGE = (0.1, 8.0)
#: Exponential excess from which on a request counts as stalled: 13 % are, by 1 in the mean.
STALL_FROM = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class SampleLoad:
    """Arrivals and what else is random.

    Attributes:
        arrivals: Ascending seconds, shape (n,).
        sizes: Examples of each request, shape (n,).
        noise: For each batch and for each request a standard normal number, and by how much an exponential variable of
            mean 1 exceeds :data:`STALL_FROM`: nothing for most requests, much for a few. Shape (n, 3).
    """

    arrivals: Array
    sizes: Array
    noise: Array

    @classmethod
    def of(cls, workload: Workload, requests: int) -> SampleLoad:
        """A run of ``requests`` requests of this load. An idle load counts as one request in 1000 seconds."""
        cv = min(max(workload.cv, _CV_RANGE[0]), _CV_RANGE[1])
        step = round(math.log(cv) / _CV_STEP)
        rate = max(workload.rate_per_second, 1e-3)
        examples = max(workload.examples_per_request, 1.0)
        return cls(_unit_arrivals(requests, step) / rate, np.full(requests, examples), _noise(requests))

    @property
    def seconds(self) -> float:
        """How long the run lasts."""
        return float(self.arrivals[-1])


@lru_cache(maxsize=64)
def _unit_arrivals(requests: int, cv_step: int) -> Array:
    """Arrival times at rate 1 of a Gamma renewal process (shape 1/cv², scale cv²), shape (requests,)."""
    shape = math.exp(cv_step * _CV_STEP) ** -2
    levels = (np.arange(requests) + 0.5) / requests
    gaps = gammaincinv(shape, levels)
    gaps *= requests / gaps.sum()
    rng = np.random.default_rng(requests)
    orders = rng.permuted(np.tile(gaps, (_ORDERS, 1)), axis=1)
    arrivals: Array = np.cumsum(orders[_typical(orders)])
    arrivals.setflags(write=False)
    return arrivals


def _typical(orders: Array) -> int:
    """Which order's queue comes nearest to the mean of all: by quantiles of the time in a D-server queue."""
    load = np.array(_UTILISATIONS)[:, None]
    waits = np.zeros((orders.shape[1], len(_UTILISATIONS), len(orders)))
    for i in range(1, orders.shape[1]):
        waits[i] = np.maximum(waits[i - 1] + load - orders[:, i], 0.0)
    quantiles = np.log(np.quantile(waits + load, (0.5, 0.9, 0.97, 0.99), axis=0))
    distance = np.square(quantiles - quantiles.mean(axis=2, keepdims=True)).sum(axis=(0, 1))
    return int(distance.argmin())


@lru_cache(maxsize=8)
def _noise(requests: int) -> Array:
    """Quantiles of the distributions, each in a random order; see :attr:`SampleLoad.noise`."""
    levels = (np.arange(requests) + 0.5) / requests
    normal, stalls = ndtri(levels), np.maximum(-np.log1p(-levels) - STALL_FROM, 0.0)
    rng = np.random.default_rng(requests)
    noise: Array = np.stack([rng.permutation(values) for values in (normal, normal, stalls)], axis=1)
    noise.setflags(write=False)
    return noise
