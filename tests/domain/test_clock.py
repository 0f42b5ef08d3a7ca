from __future__ import annotations

import time

from service.domain.clock import SystemClock


async def test_the_systems_clock_tells_both_times_and_waits() -> None:
    clock = SystemClock()
    unix, begun = clock.time(), clock.monotonic()
    assert abs(unix - time.time()) < 60
    await clock.sleep(0.01)
    assert clock.monotonic() - begun >= 0.009
