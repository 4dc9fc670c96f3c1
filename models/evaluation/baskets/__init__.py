"""baskets."""
