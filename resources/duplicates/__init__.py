"""Duplicates in PostgreSQL: candidates, pairs of photos and of ads, groups, and who finds them."""
