"""Running copies of published images: an overlay, a first-boot disc, and what keeps it running."""
