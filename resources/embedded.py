"""The embedded servers, by one import: PostgreSQL with pgvector, and a broker for the demo."""

from resources.embedded_broker import EmbeddedBroker
from resources.embedded_postgres import EmbeddedPostgres

__all__ = ["EmbeddedBroker", "EmbeddedPostgres"]
