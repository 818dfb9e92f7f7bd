"""Migrations of the index, one file a revision; applied by ``Database.migrate``."""
