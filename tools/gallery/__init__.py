"""Parts of `tools.gallery` and `tools.compare`."""
