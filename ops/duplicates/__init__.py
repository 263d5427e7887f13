"""Whether two photos are the same, and whether two ads are the same. Computation only."""
