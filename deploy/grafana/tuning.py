"""Tuning: what Regulus does, why, and whether it does any good."""

from __future__ import annotations

from deploy.grafana.dashboard import Dashboard, Row
from deploy.grafana.panel import GREEN, RED, YELLOW, Query, Unit, happened
from deploy.grafana.variables import FAILED_SWITCHES, MODEL, SWITCHES
from deploy.grafana.visuals import Stat, StateTimeline, TimeSeries

_MEASURED = 'regulus_window_tail_latency_seconds{model="$model"}'
_PREDICTED = 'regulus_recommendation_latency_seconds{model="$model", bound="expected"}'


_BATCHING = 'regulus_config_value{model="$model", knob="enable_batching"}'
#: What the largest batch is in effect.
BATCH_SIZE = (
    'max without (knob) (regulus_config_value{model="$model", knob="max_batch_size"} '
    f"and on (model) {_BATCHING} == 1 or {_BATCHING} + 1 == 1)"
)


def _knobs(*names: str) -> list[Query]:
    return [Query(f'regulus_config_value{{model="$model", knob="{name}"}}', name) for name in names]


_STATE = Row(
    "Now",
    [
        Stat(
            title="Mode",
            about="off: observes. recommend: says what it would do. auto: does it.",
            queries=[Query('regulus_mode{model="$model"} == 1', "{{mode}}")],
            width=4,
            height=4,
            by_name=True,
        ),
        Stat(
            title="What holds it back",
            about="The reason of the moment; the sentence behind it is in `regulus status`.",
            queries=[
                Query(
                    'label_replace(max by (reason) (regulus_hold{model="$model"} == 1) or on () vector(0), "reason", '
                    '"nothing", "reason", "")',
                    "{{reason}}",
                ),
            ],
            width=8,
            height=4,
            by_name=True,
        ),
        Stat(
            title="Confidence",
            about="0: a guess. 1: measured often and lately.",
            queries=[Query('regulus_recommendation_confidence_ratio{model="$model"}')],
            unit=Unit.RATIO,
            width=4,
            height=4,
        ),
        Stat(
            title="Switches left this hour",
            queries=[Query('regulus_switches_left{model="$model"}')],
            width=4,
            height=4,
            steps=[(0, RED), (1, YELLOW), (6, GREEN)],
        ),
        Stat(
            title="In quarantine",
            about="Configurations that the node could not run or bring up in time.",
            queries=[Query('regulus_quarantined_configurations{model="$model"}')],
            width=4,
            height=4,
            steps=[(0, GREEN), (1, YELLOW)],
        ),
    ],
)

_CONFIGURATION = Row(
    "Configuration in force",
    [
        TimeSeries(
            title="Batch size",
            about="Largest batch; 1 while batching is off: then requests run one by one, whatever max_batch_size says.",
            queries=[Query(BATCH_SIZE, "max_batch_size")],
            width=8,
            stepped=True,
            low=0,
        ),
        TimeSeries(
            title="Batch timeout",
            about="How long the first request of a batch waits for others.",
            queries=_knobs("batch_timeout_micros"),
            unit=Unit.MICROSECONDS,
            width=8,
            stepped=True,
            low=0,
        ),
        TimeSeries(
            title="Parallelism",
            about="Batches at once, threads within a batch, instances. 0 lets TensorFlow choose.",
            queries=_knobs(
                "num_batch_threads",
                "tensorflow_inter_op_parallelism",
                "tensorflow_intra_op_parallelism",
                "instances",
            ),
            width=8,
            stepped=True,
            low=0,
        ),
    ],
)

_DECISIONS = Row(
    "Decisions",
    [
        TimeSeries(
            title="Decisions",
            about="What was done, or why nothing was. A reason for doing nothing is repeated every five minutes.",
            queries=[
                Query(
                    happened('regulus_decisions_total{model="$model"}', "action, reason") + " > 0",
                    "{{action}}: {{reason}}",
                )
            ],
            bars=True,
            low=0,
        ),
        StateTimeline(
            title="Why nothing is done",
            queries=[Query('regulus_hold{model="$model"} == 1', "{{reason}}")],
        ),
        TimeSeries(
            title="Switches",
            about="Sent to the node: by Regulus, by a person, back to safety; and how they ended.",
            queries=[
                Query(
                    happened('regulus_reconfigurations_total{model="$model"}', "kind, outcome") + " > 0",
                    "{{kind}}: {{outcome}}",
                )
            ],
            width=8,
            bars=True,
            low=0,
        ),
        TimeSeries(
            title="How long switches take",
            about="From sending a configuration to requests being served by it. The old one serves meanwhile.",
            queries=[
                Query(
                    "sum by (model) (rate(regulus_reconfiguration_duration_seconds_sum"
                    '{model="$model"}[$__range])) / sum by (model) '
                    '(rate(regulus_reconfiguration_duration_seconds_count{model="$model"}[$__range]))',
                    "mean",
                ),
                Query(
                    "histogram_quantile(0.9, sum by (le) "
                    '(rate(regulus_reconfiguration_duration_seconds_bucket{model="$model"}[$__range])))',
                    "p90",
                ),
            ],
            unit=Unit.SECONDS,
            width=8,
            low=0,
        ),
        TimeSeries(
            title="What switches cost",
            about="Seconds of the last hour in which the tail lay above the objective and above what is usual, because "
            "of a switch. loop.max_spike_seconds_per_hour limits them.",
            queries=[Query('increase(regulus_switch_spike_seconds_total{model="$model"}[1h])', "spikes")],
            unit=Unit.SECONDS,
            width=8,
            low=0,
        ),
    ],
)

_LEARNING = Row(
    "Learning",
    [
        TimeSeries(
            title="Predicted against measured",
            about="The last judged window, and what the policy predicts of its latest recommendation: both at the "
            "percentile of the objective.",
            queries=[
                Query(_MEASURED, "measured"),
                Query(_PREDICTED, "predicted"),
                Query('regulus_recommendation_latency_seconds{model="$model", bound="low"}', "predicted, low"),
                Query('regulus_recommendation_latency_seconds{model="$model", bound="high"}', "predicted, high"),
                Query('model:regulus_slo_latency_target:seconds{model="$model"}', "objective", dashed=True),
            ],
            unit=Unit.SECONDS,
            low=0,
        ),
        TimeSeries(
            title="Regret",
            about="How much slower what is in force is than what the recommendation is predicted to be. In mode "
            "recommend: what is given away.",
            queries=[Query(f"clamp_min({_MEASURED} - on (model) {_PREDICTED}, 0)", "regret")],
            unit=Unit.SECONDS,
            low=0,
        ),
        TimeSeries(
            title="Answers of the policy",
            about="explore: to learn. exploit: the best known. stay: what is in force is best.",
            queries=[Query(happened('regulus_recommendations_total{model="$model"}', "intent"), "{{intent}}")],
            bars=True,
            low=0,
        ),
        TimeSeries(
            title="Thinking",
            about="How long the policy takes to answer.",
            queries=[
                Query(
                    "histogram_quantile(0.9, sum by (le) "
                    '(rate(regulus_suggest_duration_seconds_bucket{model="$model"}[$__range])))',
                    "p90",
                )
            ],
            unit=Unit.SECONDS,
            low=0,
        ),
    ],
)

TUNING = Dashboard(
    uid="regulus-tuning",
    title="Regulus / Tuning",
    about="What Regulus does, why, and whether it does any good.",
    variables=[MODEL],
    annotations=[SWITCHES, FAILED_SWITCHES],
    rows=[_STATE, _CONFIGURATION, _DECISIONS, _LEARNING],
)
