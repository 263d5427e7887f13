"""Photos that benches compare: read from folders, and embedded."""
