"""Programs around a run: python -m tools.NAME."""
