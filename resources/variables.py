"""Which environment variables begin with LALAFO_: the settings, and few others.

Owns what is said about the rest: a setting whose name is misspelt would otherwise keep its default
without a word. Does not depend on what the values mean, and never shows one.
"""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase

from ops.errors import ConfigurationError
from resources.kafka_properties import ENV_PREFIX, KAFKA_PREFIX, hint_for_variable

OTHERS_SETTING = "LALAFO_OTHER_VARIABLES"

NOT_SETTINGS = frozenset(
    {
        "LALAFO_STACK",  # marks the processes of a stack (`resources/processes/child.py`)
        # Of the tests:
        "LALAFO_DRILL",
        "LALAFO_REQUIRE_BROWSER",
        "LALAFO_REQUIRE_HELM",
        "LALAFO_REQUIRE_KAFKA",
        "LALAFO_REQUIRE_NODE",
        "LALAFO_REQUIRE_PGBOUNCER",
        "LALAFO_SCREENSHOTS",
    }
)
"""The project's own variables that are no settings."""

_ADDRESS = re.compile(r"(tcp|udp|sctp)://.*", re.S)
_SERVICE = re.compile(
    r"LALAFO_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)


def check_variables(environment: Mapping[str, str], fields: Iterable[str]) -> None:
    """Refuse environment variables that begin with LALAFO_ and are not known.

    Those of Kubernetes, which describe a Service named `lalafo-…` to every pod of its namespace,
    are allowed; so are those that LALAFO_OTHER_VARIABLES names.

    Args:
        fields: of `Settings`.

    Raises:
        ConfigurationError: names each such variable and the nearest that is known.
    """
    known = {f"{ENV_PREFIX}{field.upper()}" for field in fields}
    others = [it.strip().upper() for it in _value(environment, OTHERS_SETTING).split(",")]
    unknown = [
        name
        for name, value in sorted(environment.items())
        if name.upper().startswith(ENV_PREFIX)
        and name.upper() not in known | NOT_SETTINGS
        and not is_service_link(name, value)
        and not any(fnmatchcase(name.upper(), pattern) for pattern in others)
    ]
    if unknown:
        raise ConfigurationError(
            f"{'; '.join(_what(name, known) for name in unknown)}. If a variable belongs to "
            f"another program, name it in {OTHERS_SETTING}."
        )


def is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes (or Docker's links) has set this variable, by its name and value.

    https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
    """
    is_port = name.upper().endswith("_PORT") and _ADDRESS.fullmatch(value) is not None
    return is_port or _SERVICE.fullmatch(name.upper()) is not None


def _value(environment: Mapping[str, str], name: str) -> str:
    """A variable's value; names of settings are not case-sensitive."""
    return next((value for it, value in environment.items() if it.upper() == name), "")


def _what(name: str, known: Iterable[str]) -> str:
    hint = hint_for_variable(name)
    if hint is not None:
        return f"{name} is set: {hint}"
    of_kafka = name.upper().startswith(KAFKA_PREFIX)
    candidates = sorted(it for it in known if it.startswith(KAFKA_PREFIX) or not of_kafka)
    nearest = get_close_matches(name.upper(), candidates, n=1, cutoff=0.0)[0]
    return f"{name} is not a setting; did you mean {nearest}?"
