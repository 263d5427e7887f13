"""How much a caller may send: bodies, requests a second, requests at once."""

from fastapi import FastAPI

from resources.settings import Settings


class Limits:
    """What each key has used of its share, in this process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings


def install(app: FastAPI, settings: Settings) -> None:
    """Let the app judge a request before a route reads it."""
