"""Whether two photos are the same, how one was altered, and where they agree."""
