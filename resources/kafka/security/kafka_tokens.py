"""kafka-python's side of OAUTHBEARER: gives a connection the current token.

Imports kafka-python: import this module inside functions only.
"""

from kafka.errors import KafkaConnectionError
from kafka.net.sasl.oauth import AbstractTokenProvider

from ops.errors import LalafoError
from resources.kafka.security.tokens import TokenSource


class TokenError(KafkaConnectionError):  # type: ignore[misc] # kafka-python has no types
    """No token could be had; the cause says why. kafka-python treats it as a lost connection."""


class _Provider(AbstractTokenProvider):  # type: ignore[misc] # as above
    def __init__(self, tokens: TokenSource) -> None:
        super().__init__()
        self._tokens = tokens

    def token(self) -> str:
        try:
            return self._tokens.token()
        except LalafoError as error:
            raise TokenError(str(error)) from error

    def extensions(self) -> dict[str, str]:
        return dict(self._tokens.oidc.extensions)


def token_provider(tokens: TokenSource) -> AbstractTokenProvider:
    """A provider for the option `sasl_oauth_token_provider`."""
    return _Provider(tokens)
