"""Explore a data set before training: class frequencies and samples."""
