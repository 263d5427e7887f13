"""Judges which photos are found to be the same, on photos that were altered in known ways."""
