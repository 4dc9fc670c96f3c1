"""How well rankings and suggestions do, on streams of events in their order: suggest, score, then learn."""
