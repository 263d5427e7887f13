"""The HTTP side: what marketplaces call, and the page that people look at.

Knows PostgreSQL, Kafka and the photo store; refuses to know any model, torch or Dagster.
"""
