"""What was about to be done, so that a crash in the middle of a switch is understood; rows found by their time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """From the schema of release 0.1."""
    op.add_column("models", sa.Column("intent", sa.Text))
    op.create_index("ix_observations_model_observed_at", "observations", ["model", "observed_at"])
    op.create_index("ix_decisions_model_decided_at", "decisions", ["model", "decided_at"])
