"""What Alembic runs for every command: our tables, our version table, the caller's connection.

The caller owns the transaction, so a history is applied wholly or not at all.
"""

from alembic import context

from common import tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.ours,
    version_table=tables.schema_version.name,
)
with context.begin_transaction():
    context.run_migrations()
