"""Schema: the tables, as the newest migration leaves them.

What is searched by is a column; the rest is JSON text in ``body`` columns, whose layout the row's ``format`` numbers.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, SmallInteger, String, Table, Text

#: Names for constraints, so that migrations can refer to them in every database.
METADATA = MetaData(naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_N_name)s"})

#: The table in which alembic notes the schema's version.
VERSION_TABLE = "regulus_schema_version"

# SQLite numbers rows by itself only in a column of type INTEGER.
_Id = BigInteger().with_variant(Integer, "sqlite")

#: AUTOINCREMENT: an id is never given twice, even after the newest rows were pruned.
OBSERVATIONS = Table(
    "observations",
    METADATA,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("model", String(200), nullable=False),
    Column("observed_at", Float(53), nullable=False),
    Column("format", SmallInteger, nullable=False),
    Column("body", Text, nullable=False),
    Index(None, "model", "id"),
    Index(None, "model", "observed_at"),
    sqlite_autoincrement=True,
)

DECISIONS = Table(
    "decisions",
    METADATA,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("model", String(200), nullable=False),
    Column("decided_at", Float(53), nullable=False),
    Column("action", String(32), nullable=False),
    Column("format", SmallInteger, nullable=False),
    Column("body", Text, nullable=False),
    Index(None, "model", "id"),
    Index(None, "model", "action", "id"),
    Index(None, "model", "decided_at"),
    sqlite_autoincrement=True,
)

MODELS = Table(
    "models",
    METADATA,
    Column("model", String(200), primary_key=True),
    Column("slo", Text),
    Column("mode", String(32)),
    Column("incumbent", Text),
    Column("generation", BigInteger),
    Column("last_known_good", Text),
    Column("intent", Text),
    Column("format", SmallInteger, nullable=False),
    Column("updated_at", Float(53), nullable=False),
    Column("guards", Text),
)

#: What the windows that ended within an hour add up to; stays when they go.
TALLIES = Table(
    "tallies",
    METADATA,
    Column("model", String(200), primary_key=True),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),
    Column("windows", BigInteger, nullable=False),
    Column("began_at", Float(53), nullable=False),
    Column("ended_at", Float(53), nullable=False),
    Column("requests", BigInteger, nullable=False),
    Column("lost", BigInteger, nullable=False),
    Column("format", SmallInteger, nullable=False),
    Column("latency", Text, nullable=False),
)

#: One row: the service that keeps the database for itself, or did so last.
KEEPER = Table(
    "keeper",
    METADATA,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("name", String(128), nullable=False),
    Column("place", Text, nullable=False),
)
