"""The small parts: back-off, what is feasible, settings."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from service.backends.protocol import Support
from service.control.feasible import check_supported, node_space, within_limits
from service.control.settings import LoopSettings, ModelSettings, SloSettings
from service.domain.decision import Mode
from service.domain.errors import InfeasibleConfigError, InvalidValueError
from service.domain.serving_config import ServingConfig
from service.domain.slo import Slo
from service.learning.space import KNOB_NAMES
from tests.support.agents import KNOBS

SUPPORT = Support(bounds=dict(KNOBS), cpus=4.0)
OFF = ServingConfig()
BATCHING = ServingConfig(enable_batching=True, max_batch_size=8, batch_timeout_micros=1000, num_batch_threads=2)


MODEL = {
    "name": "m",
    "agent_url": "http://127.0.0.1:8600",
    "metrics_url": "http://127.0.0.1:8501/metrics",
    "slo": {"bound_seconds": 0.05},
}


class TestSpaceOfANode:
    def knobs(self, support: Support = SUPPORT, incumbent: ServingConfig = OFF, **limits):
        space = node_space(support, incumbent, limits.get("bounds", {}), limits.get("pinned", {}))
        return {knob.name: knob.values for knob in space.knobs}

    def test_all_knobs_of_a_free_node(self):
        assert set(self.knobs()) == set(KNOB_NAMES)
        assert len(self.knobs()["max_batch_size"]) > 3

    def test_the_node_limits_what_may_be_chosen(self):
        bounds = {**KNOBS, "max_batch_size": (1, 16), "instances": (1, 1)}
        values = self.knobs(Support(bounds=bounds, cpus=4.0))
        assert values["max_batch_size"][0] == 0  # a batch of one allows batching off
        assert values["max_batch_size"][-1] == 16
        assert values["instances"] == (1,)

    def test_a_node_that_must_batch_has_no_batching_off(self):
        assert self.knobs(Support(bounds={**KNOBS, "max_batch_size": (2, 16)}, cpus=4.0))["max_batch_size"][0] == 2

    def test_the_owner_limits_it_further_but_never_widens_it(self):
        values = self.knobs(bounds={"max_batch_size": (4, 1 << 20), "instances": (1, 64)})
        assert values["max_batch_size"][0] == 4
        assert values["instances"][-1] <= 4

    def test_a_knob_the_node_cannot_change_keeps_its_value(self):
        fixed = {knob: limits for knob, limits in KNOBS.items() if knob != "num_batch_threads"}
        odd = BATCHING.with_values(num_batch_threads=3)
        assert self.knobs(Support(bounds=fixed, cpus=4.0), odd)["num_batch_threads"] == (3,)

    def test_batching_that_cannot_be_changed_stays_off(self):
        fixed = {knob: limits for knob, limits in KNOBS.items() if knob != "max_batch_size"}
        assert self.knobs(Support(bounds=fixed, cpus=4.0))["max_batch_size"] == (0,)

    def test_a_pin_is_the_only_value(self):
        assert self.knobs(pinned={"tensorflow_intra_op_parallelism": 3})["tensorflow_intra_op_parallelism"] == (3,)

    def test_a_pin_beyond_the_node_is_refused_by_name(self):
        with pytest.raises(InvalidValueError, match="instances"):
            self.knobs(pinned={"instances": 60})

    def test_an_unknown_knob_is_refused_by_name(self):
        with pytest.raises(InvalidValueError, match="turbo"):
            self.knobs(bounds={"turbo": (0, 1)})


class TestSupported:
    def test_what_is_within_passes(self):
        check_supported(BATCHING, SUPPORT, OFF)
        check_supported(OFF, SUPPORT, BATCHING)

    def test_batching_knobs_do_not_matter_while_batching_is_off(self):
        bounds = {**KNOBS, "max_batch_size": (2, 16), "num_batch_threads": (2, 4)}
        check_supported(OFF, Support(bounds=bounds), BATCHING)

    def test_what_is_outside_is_refused_by_name(self):
        with pytest.raises(InfeasibleConfigError, match=r"between 1 and 4.*not 5") as refused:
            check_supported(BATCHING.with_values(instances=5), SUPPORT, OFF)
        assert refused.value.field == "instances"

    def test_turning_on_batching_where_it_is_fixed_is_refused(self):
        fixed = {knob: limits for knob, limits in KNOBS.items() if knob != "max_batch_size"}
        with pytest.raises(InfeasibleConfigError, match="cannot be changed"):
            check_supported(BATCHING, Support(bounds=fixed), OFF)


class TestOwnersLimits:
    def test_without_limits_everything_is_within(self):
        assert within_limits(BATCHING, {}, {})

    def test_bounds_and_pins_count(self):
        assert not within_limits(BATCHING, {"max_batch_size": (16, 64)}, {})
        assert not within_limits(BATCHING, {}, {"num_batch_threads": 4})
        assert within_limits(BATCHING, {"max_batch_size": (4, 64)}, {"num_batch_threads": 2})

    def test_batching_off_is_a_batch_size_of_zero(self):
        assert not within_limits(OFF, {"max_batch_size": (2, 64)}, {})
        assert within_limits(OFF, {"max_batch_size": (0, 64)}, {"num_batch_threads": 4})


class TestSettings:
    def test_the_least_that_must_be_given(self):
        model = ModelSettings.model_validate(MODEL)
        assert model.slo.to_slo() == Slo(0.05, 0.99, 0.99)
        assert model.mode is Mode.RECOMMEND
        LoopSettings()

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"name": ""}, "name"),
            ({"agent_url": "127.0.0.1:8600"}, "agent_url"),
            ({"metrics_url": "ftp://there/metrics"}, "metrics_url"),
            ({"slo": {"bound_seconds": -1}}, "bound_seconds"),
            ({"slo": {"bound_seconds": 1, "percentile": 99}}, "percentile"),
            ({"slo": {"bound_seconds": 1, "bound": 2}}, "bound"),
            ({"mode": "automatic"}, "mode"),
            ({"modus": "auto"}, "modus"),
            ({"bounds": {"instances": 3}}, "bounds.instances"),
        ],
    )
    def test_a_bad_model_is_refused_by_field(self, change, told):
        with pytest.raises(ValidationError) as refused:
            ModelSettings.model_validate(MODEL | change)
        assert told in str(refused.value)

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"window_seconds": 0}, "window_seconds"),
            ({"min_requests": 5}, "min_requests"),
            ({"window_seconds": 100}, "max_window_seconds"),
            ({"early_window_seconds": 10}, "early_window_seconds"),
            ({"metrics_stale_seconds": 0.6}, "metrics_stale_seconds"),
            ({"scrape_intervall": 1}, "scrape_intervall"),
        ],
    )
    def test_a_bad_loop_is_refused_by_field(self, change, told):
        with pytest.raises(ValidationError) as refused:
            LoopSettings.model_validate(change)
        assert told in str(refused.value)

    def test_settings_do_not_change_once_made(self):
        with pytest.raises(ValidationError, match="frozen"):
            LoopSettings().min_requests = 100

    @pytest.mark.parametrize("kind", [SloSettings, ModelSettings, LoopSettings])
    def test_every_setting_says_what_it_is_and_why(self, kind):
        for name, field in kind.model_fields.items():
            assert field.description, name
            assert len(field.description) > 25, name
