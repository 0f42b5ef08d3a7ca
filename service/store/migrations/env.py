"""Run by alembic: migrates through the connection that the store hands over, inside the store's transaction."""

from __future__ import annotations

from alembic import context

from service.store.schema import METADATA, VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"], target_metadata=METADATA, version_table=VERSION_TABLE
)
context.run_migrations()
