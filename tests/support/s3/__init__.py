"""A real server of S3's protocol for tests, and faults on the way to it."""
