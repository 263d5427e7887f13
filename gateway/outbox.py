"""What the gateway owes Kafka: sent right after the commit, and again until acknowledged."""

from dataclasses import dataclass

from gateway.database import GatewayDatabase
from resources.settings import Settings


@dataclass(frozen=True, slots=True)
class Owed:
    """A row of the outbox that was just committed."""

    id: int
    topic: str
    key: bytes
    value: bytes


class OutboxRelay:
    """The gateway's way to Kafka; `async with` it."""

    def __init__(self, settings: Settings, database: GatewayDatabase) -> None:
        self.settings = settings
        self.database = database

    async def __aenter__(self) -> "OutboxRelay":
        return self

    async def __aexit__(self, *_: object) -> None:
        return None
