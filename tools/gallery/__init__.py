"""Parts of tools.gallery: thumbnails, sections, curves, the page."""
