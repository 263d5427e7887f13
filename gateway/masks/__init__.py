"""Masks of the goods in photos: what sessions found, cut-outs, and masks that people have drawn."""
