"""Parts of tools.check: one picture, all pictures together."""
