"""Whether two ads are the same, and the groups of those that are."""
