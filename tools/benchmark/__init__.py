"""The parts of `python -m tools.benchmark`, one file a subcommand, and what they share."""
