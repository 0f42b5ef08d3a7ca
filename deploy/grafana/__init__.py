"""Dashboards: written here, generated as JSON by ``python -m deploy.grafana``, provisioned from the JSON.

``panel``, ``visuals`` and ``dashboard`` are the vocabulary; ``slo``, ``tuning``, ``serving`` and ``fleet`` each hold
one dashboard. A test fails when the committed JSON is not what these modules say.
"""
