"""What a kill costs: what was in hand may be lost, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.kills import AGENT, SERVER, Kill, losses, table
from benchmarks.open_loop import Requests

#: A request every 10 ms for four seconds that takes 25 ms.
INTENDED = np.arange(0.0, 4.0, 0.01)


def requests(*, lost_from: float, lost_until: float) -> Requests:
    outcome = tuple("UNAVAILABLE" if lost_from <= due <= lost_until else "OK" for due in INTENDED)
    return Requests(INTENDED, INTENDED, INTENDED + 0.025, outcome)


@pytest.mark.parametrize(("until", "bearable"), [(1.045, True), (1.2, False)])
def test_what_is_sent_to_a_dying_process_is_in_its_hand_and_later_requests_are_not(
    until: float, bearable: bool
) -> None:
    # Killed at 1.0 and gone at 1.05: sent from 0.98 (not yet answered) to 1.05 is in hand.
    [loss] = losses(requests(lost_from=0.978, lost_until=until), [Kill(SERVER, 1.0005, 1.0505, 2.0)])
    assert loss.in_hand == pytest.approx(8, abs=1)
    assert loss.lost == sum(0.978 <= due <= until for due in INTENDED)
    assert loss.bearable == bearable
    assert loss.requests == pytest.approx(200, abs=2)


def test_a_killed_agent_must_cost_nothing() -> None:
    well, ill = (
        losses(requests(lost_from=low, lost_until=high), [Kill(AGENT, 1.0, 1.0, 2.0)])[0]
        for low, high in ((9.0, 9.0), (1.5, 1.5))
    )
    assert (well.lost, well.bearable) == (0, True)
    assert (ill.lost, ill.bearable) == (1, False)
    assert [row[0] for row in table([well, ill]).rows] == ["agent, kill −9"] * 2
    assert well.to_dict()["p99"] == pytest.approx(0.025)


def test_what_the_next_process_had_in_hand_is_not_the_fault_of_the_one_before() -> None:
    kills = [Kill(AGENT, 1.0, 1.0, 2.0), Kill(SERVER, 2.9905, 3.0005, 3.5)]
    agent, server = losses(requests(lost_from=2.968, lost_until=3.0), kills)
    assert (agent.lost, agent.bearable) == (0, True)
    assert server.lost == 4
    assert server.bearable
