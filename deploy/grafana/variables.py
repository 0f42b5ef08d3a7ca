"""Variables: the choices that several dashboards offer, and the moments that they mark."""

from __future__ import annotations

from deploy.grafana.dashboard import Annotation, Variable

#: One of the models that Regulus steers.
MODEL = Variable("model", "Model", "label_values(regulus_slo_latency_target_seconds, model)")

#: The nodes that serve it.
INSTANCE = Variable(
    "instance", "Node", 'label_values(:tensorflow:serving:request_count{model_name="$model"}, instance)', several=True
)

#: Changes of the configuration in force.
SWITCHES = Annotation(
    "Switches",
    'sum by (kind) (changes(regulus_reconfigurations_total{model="$model", outcome="ok"}[15s])) > 0',
    "{{kind}} switch",
    "blue",
)

#: Changes that were asked for and did not happen.
FAILED_SWITCHES = Annotation(
    "Failed switches",
    'sum by (outcome) (changes(regulus_reconfigurations_total{model="$model", outcome!="ok"}[15s])) > 0',
    "switch {{outcome}}",
    "red",
)
