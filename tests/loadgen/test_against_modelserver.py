"""The load generator against the embedded model server: real metadata, real tensors, real errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.loadgen.arrivals import Regular, ScheduledArrivals
from service.loadgen.payloads import Encoding, RequestSpec
from service.loadgen.plan import LoadPlan
from service.loadgen.runner import run_load
from service.loadgen.schedules import constant
from service.loadgen.target import TargetError
from tests.support.modelserver import HALF_PLUS_TWO, model_server


async def test_every_protocol_and_encoding_is_understood(tmp_path: Path) -> None:
    plan = LoadPlan(source=ScheduledArrivals(Regular(), constant(50, 0.4)), max_lag=60.0)
    with model_server(tmp_path) as server:
        grpc, rest = f"grpc://{server.target}", f"http://127.0.0.1:{server.rest_port}"
        for target, encoding in (
            (grpc, Encoding.TENSOR_CONTENT),
            (grpc, Encoding.TYPED),
            (rest, Encoding.ROW),
            (rest, Encoding.COLUMNAR),
        ):
            request = RequestSpec(model=HALF_PLUS_TWO, batch=2, encoding=encoding)
            report = await run_load(target, plan, request)
            assert (report.ok, report.failed) == (20, {}), encoding
        for target in (grpc, rest):
            with pytest.raises(TargetError, match="does not serve model 'none'"):
                await run_load(target, plan, RequestSpec(model="none"))
