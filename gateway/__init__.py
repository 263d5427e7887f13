"""The HTTP gateway: the API that marketplaces call, and the web page.

Uses PostgreSQL, Kafka and the photo store. Does not depend on the models, torch or Dagster.
"""
