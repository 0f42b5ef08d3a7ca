"""What is remembered: observations, decisions, incumbents, in SQLite or PostgreSQL."""
