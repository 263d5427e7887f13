"""What Kubernetes' NetworkPolicies allow, by their definition in the API reference.

Policies add up. A pod that no policy selects for a direction is open in that direction. A
connection between two pods needs the egress of the one and the ingress of the other.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Policy = Mapping[str, Any]
NAMESPACE = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Pod:
    labels: Mapping[str, str]
    namespace: str = "ads"
    ports: Mapping[str, int] = field(default_factory=dict)  # by name


def egress_allowed(policies: Iterable[Policy], source: Pod, to: Pod | str, port: int) -> bool:
    """Whether a pod's TCP connection to a pod, or to an address outside of them, may leave it."""
    return _allowed(policies, "Egress", source, to, port, to if isinstance(to, Pod) else None)


def ingress_allowed(policies: Iterable[Policy], to: Pod, source: Pod, port: int) -> bool:
    return _allowed(policies, "Ingress", to, source, port, to)


def connects(policies: list[Policy], source: Pod, to: Pod, port: int) -> bool:
    """Whether one pod reaches another."""
    return egress_allowed(policies, source, to, port) and ingress_allowed(
        policies, to, source, port
    )


def _allowed(
    policies: Iterable[Policy],
    direction: str,
    subject: Pod,
    peer: Pod | str,
    port: int,
    served_by: Pod | None,
) -> bool:
    applying = [
        it["spec"]
        for it in policies
        if direction in it["spec"]["policyTypes"]
        and subject.namespace == "ads"  # where the policies are
        and selects(it["spec"]["podSelector"], subject.labels)
    ]
    if not applying:
        return True
    key = "to" if direction == "Egress" else "from"
    return any(
        _peer_matches(rule.get(key), peer) and _port_matches(rule.get("ports"), port, served_by)
        for spec in applying
        for rule in spec.get(direction.lower(), [])
    )


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """An empty selector selects everything."""
    if any(labels.get(k) != v for k, v in selector.get("matchLabels", {}).items()):
        return False
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"  # the only one that the chart uses
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return True


def _peer_matches(peers: list[Mapping[str, Any]] | None, peer: Pod | str) -> bool:
    if peers is None:
        return True
    return any(_matches(it, peer) for it in peers)


def _matches(rule: Mapping[str, Any], peer: Pod | str) -> bool:
    if "ipBlock" in rule:
        if isinstance(peer, Pod):
            return False  # the tests name pods' addresses where a block is in question
        address = ipaddress.ip_address(peer)
        inside = address in ipaddress.ip_network(rule["ipBlock"]["cidr"])
        excepted = [ipaddress.ip_network(it) for it in rule["ipBlock"].get("except", [])]
        return inside and not any(address in it for it in excepted)
    if isinstance(peer, str):
        return False
    namespaces = rule.get("namespaceSelector")
    if namespaces is None:
        if peer.namespace != "ads":
            return False
    elif not selects(namespaces, {NAMESPACE: peer.namespace}):
        return False
    return selects(rule.get("podSelector", {}), peer.labels)


def _port_matches(ports: list[Mapping[str, Any]] | None, port: int, pod: Pod | None) -> bool:
    if ports is None:
        return True
    for rule in ports:
        if rule.get("protocol", "TCP") != "TCP":
            continue
        first = rule["port"]
        if isinstance(first, str):
            if pod is not None and pod.ports.get(first) == port:
                return True
        elif first <= port <= rule.get("endPort", first):
            return True
    return False
