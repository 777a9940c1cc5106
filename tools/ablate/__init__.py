"""Parts of tools.ablate: variants, their runs, their results, the report."""
