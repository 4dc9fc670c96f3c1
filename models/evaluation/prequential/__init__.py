"""prequential."""
