"""The embedded backend: SQLite for the store, processes for the steps, one machine for all."""
