"""What guardrails remember; what each hour's windows add up to; which service keeps the database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """From the schema with intents."""
    op.add_column("models", sa.Column("guards", sa.Text))
    op.create_table(
        "tallies",
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("hour", sa.BigInteger, nullable=False),
        sa.Column("windows", sa.BigInteger, nullable=False),
        sa.Column("began_at", sa.Float(53), nullable=False),
        sa.Column("ended_at", sa.Float(53), nullable=False),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("lost", sa.BigInteger, nullable=False),
        sa.Column("format", sa.SmallInteger, nullable=False),
        sa.Column("latency", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("model", "hour", name="pk_tallies"),
    )
    op.create_table(
        "keeper",
        sa.Column("id", sa.SmallInteger, autoincrement=False, nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("place", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_keeper"),
    )
