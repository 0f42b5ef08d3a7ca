"""Observations, decisions and the state of each model."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """From an empty database."""
    row_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "observations",
        sa.Column("id", row_id, autoincrement=True, nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("observed_at", sa.Float(53), nullable=False),
        sa.Column("format", sa.SmallInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_observations"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_observations_model_id", "observations", ["model", "id"])
    op.create_table(
        "decisions",
        sa.Column("id", row_id, autoincrement=True, nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("decided_at", sa.Float(53), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("format", sa.SmallInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_decisions"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_decisions_model_id", "decisions", ["model", "id"])
    op.create_index("ix_decisions_model_action_id", "decisions", ["model", "action", "id"])
    op.create_table(
        "models",
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("slo", sa.Text),
        sa.Column("mode", sa.String(32)),
        sa.Column("incumbent", sa.Text),
        sa.Column("generation", sa.BigInteger),
        sa.Column("last_known_good", sa.Text),
        sa.Column("format", sa.SmallInteger, nullable=False),
        sa.Column("updated_at", sa.Float(53), nullable=False),
        sa.PrimaryKeyConstraint("model", name="pk_models"),
    )
