"""Duplicates of an ad, and what people say of them."""
