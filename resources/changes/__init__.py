"""Workers that follow what sessions commit: one of each kind at work, by a lease."""
