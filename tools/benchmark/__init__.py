"""Parts of tools.benchmark: one module for each part that is measured, and what they share."""
