"""What to say when a broker refuses a client: one sentence about the cause, one about the fix.

Owns the reading of errors of TLS, log-in and ACLs. A message never has a secret.
"""

import ssl
from collections.abc import Iterator

from ops.errors import LalafoError
from resources.kafka.security.access import KafkaAccess, Refusal
from resources.kafka.security.listener import mechanisms_of, protocol_of

# OpenSSL's codes of a certificate that was not accepted (x509_vfy.h).
_NOT_YET_VALID, _EXPIRED, _REVOKED, _OTHER_HOST, _OTHER_ADDRESS = 9, 10, 23, 62, 64

_CLIENT_CERTIFICATE = ("ssl.certificate.location", "ssl.key.location")


def why_refused(access: KafkaAccess, error: BaseException) -> str | None:
    """What a broker has against this client, and what to do; None if it is another failure.

    Args:
        error: what a client of kafka-python raised.
    """
    if is_denied(error):
        return _why_denied(access, error)
    refusal = access.refusal
    if refusal is None:
        return None
    from resources.kafka.security.manager import LOGIN_ERRORS

    where = f"{refusal.host}:{refusal.port}"
    for cause in _causes(refusal.error):
        if isinstance(cause, LalafoError):  # a token that could not be had
            return str(cause)
        if isinstance(cause, LOGIN_ERRORS):
            return _why_no_login(access, refusal, cause)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _why_no_certificate(access, refusal, cause)
        if isinstance(cause, ssl.SSLError):
            text = _why_alert(access, where, cause.reason or "")
            if text is not None:
                return text
    # A listener's protocol does not change under a process that has used it.
    return None if access.has_connected else _why_closed(access, refusal)


def is_denied(error: BaseException) -> bool:
    """Whether the broker's ACLs deny the operation."""
    from kafka.errors import AuthorizationError, KafkaError

    if isinstance(error, AuthorizationError):
        return True
    # kafka-python 3.0.12 wraps the refusal of an idempotent producer, as text.
    return type(error) is KafkaError and "AuthorizationFailed" in str(error)


def _why_denied(access: KafkaAccess, error: BaseException) -> str:
    from kafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError

    who = f"the user {access.principal!r}" if access.principal else "this client"
    needed = "Write on the topic"
    if isinstance(error, TopicAuthorizationFailedError):
        needed = "Describe and Read on the topic for reading, Write for publishing"
    elif isinstance(error, GroupAuthorizationFailedError):
        needed = "Read on the group"
    return f"the broker's ACLs deny it to {who} ({_words(error)}). Grant {needed}."


def _why_no_login(access: KafkaAccess, refusal: Refusal, cause: BaseException) -> str:
    from kafka.errors import SaslAuthenticationFailedError

    where, said = f"{refusal.host}:{refusal.port}", _words(cause)
    if not isinstance(cause, SaslAuthenticationFailedError):
        taken = mechanisms_of(refusal.host, refusal.port, tls=access.encrypts)
        return (
            f"{where} does not take the log-in {access.mechanism}: it takes "
            f"{', '.join(taken) if taken else 'none'}. Set {access.named('sasl.mechanism')}, or "
            f"{access.named('security.protocol')}."
        )
    if access.mechanism == "OAUTHBEARER":
        return (
            f"{where} refuses the token of {access.principal!r} ({said}). Check the token's "
            f"issuer and audience, and {access.named('sasl.oauthbearer.scope')}."
        )
    return (
        f"{where} refuses the log-in of {access.principal!r} by {access.mechanism} ({said}). Check "
        f"{access.named('sasl.username', 'sasl.password')}."
    )


def _why_no_certificate(
    access: KafkaAccess, refusal: Refusal, cause: ssl.SSLCertVerificationError
) -> str:
    where, code = f"{refusal.host}:{refusal.port}", cause.verify_code
    if code in (_EXPIRED, _NOT_YET_VALID):
        state = "has expired" if code == _EXPIRED else "is not valid yet"
        return f"the certificate of {where} {state}. Renew it on the broker, or set the clock."
    if code == _REVOKED:
        return f"the certificate of {where} is revoked. Renew it on the broker."
    if code in (_OTHER_HOST, _OTHER_ADDRESS):
        return (
            f"the certificate of {where} does not name {refusal.host}. Use a name that is in it "
            "(the broker's advertised.listeners count too), or renew it with this name."
        )
    return (
        f"the certificate of {where} is of an unknown CA ({cause.verify_message}). Set "
        f"{access.named('ssl.ca.location')} to the CA's PEM file."
    )


def _why_alert(access: KafkaAccess, where: str, reason: str) -> str | None:
    """What the broker has against the client's certificate, by its TLS alert."""
    if "ALERT" in reason and "CERTIFICATE" in reason and not access.has_certificate:
        return f"{where} needs a client certificate. Set {access.named(*_CLIENT_CERTIFICATE)}."
    if "ALERT" not in reason or not any(
        word in reason for word in ("CERTIFICATE", "UNKNOWN_CA", "HANDSHAKE_FAILURE")
    ):
        return None
    alert = reason.partition("ALERT_")[2].replace("_", " ").lower() or reason
    return (
        f"{where} does not accept this client's certificate ({alert}). Set "
        f"{access.named(*_CLIENT_CERTIFICATE)} to one that is valid and of a CA that the broker "
        "trusts."
    )


def _why_closed(access: KafkaAccess, refusal: Refusal) -> str | None:
    """The broker closed the connection without a reason: does its port speak something else?"""
    where, protocol = f"{refusal.host}:{refusal.port}", access.protocol
    found = protocol_of(refusal.host, refusal.port)
    setting = access.named("security.protocol")
    if found == "TLS" and not access.encrypts:
        return f"{where} speaks TLS, and {setting} is {protocol}. Set it to SSL or SASL_SSL."
    if found == "plaintext" and access.encrypts:
        return (
            f"{where} speaks plaintext, and {setting} is {protocol}. Use the port of a TLS "
            "listener, or set it to PLAINTEXT or SASL_PLAINTEXT."
        )
    if found is None or access.mechanism != "":
        return None
    taken = mechanisms_of(refusal.host, refusal.port, tls=access.encrypts)
    if not taken:
        return None
    return (
        f"{where} takes no connection without a log-in. Set {setting} to "
        f"{'SASL_SSL' if access.encrypts else 'SASL_PLAINTEXT'}, and "
        f"{access.named('sasl.mechanism')} to one of {', '.join(taken)}."
    )


def _words(error: BaseException) -> str:
    """The broker's words, without kafka-python's prefixes."""
    name = type(error).__name__
    if error.args and isinstance(error.args[0], set | frozenset):
        return ", ".join(sorted(map(str, error.args[0])))
    text = str(error).removeprefix(f"[Error {getattr(error, 'errno', '')}]").strip(" .:")
    while text.startswith(f"{name}:"):
        text = text.removeprefix(f"{name}:").strip()
    return text or name


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it was raised from or wraps."""
    seen: set[int] = set()
    stack: list[BaseException] = [error]
    while stack:
        current = stack.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        stack += [it for it in current.args if isinstance(it, BaseException)]
        stack += [it for it in (current.__cause__, current.__context__) if it is not None]
