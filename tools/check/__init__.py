"""Parts of tools.check: checks of one sample, checks across samples, the report."""
