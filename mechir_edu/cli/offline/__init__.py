"""What machines without a network need: caches, and bundles that carry them over."""
