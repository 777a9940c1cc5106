"""Data sets, views, mixing, models, losses, the loop, inference and checkpoints."""
