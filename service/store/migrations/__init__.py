"""The way from any earlier schema to the present one; alembic walks it when a database is opened.

A change of ``schema.py`` comes with a new file in ``versions``; a test compares what the files build with the tables,
and another brings every released schema forward: ``tests.support.release_dump`` writes down what it begins with.
"""
