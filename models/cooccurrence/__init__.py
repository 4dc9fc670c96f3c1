"""cooccurrence."""
