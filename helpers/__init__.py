"""Everything that needs no torch: class tables, scores, images, run folders, plots."""
