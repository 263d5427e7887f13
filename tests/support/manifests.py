"""Kubernetes' manifests: by its schemas, and by the rules that all of the product's pods follow."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import kubernetes_validate

VERSION = "1.34"
OF_OPERATORS = ("monitoring.coreos.com/", "keda.sh/")
"""API groups of other projects, whose schemas Kubernetes does not have."""

SECRET_TEXT = re.compile(r"passw(or)?d=|://[^/\s:@]+:[^/\s@]+@|BEGIN [A-Z ]*PRIVATE KEY", re.I)


def check_schema(manifest: Mapping[str, Any]) -> None:
    """Unknown fields are faults too."""
    if not manifest["apiVersion"].startswith(OF_OPERATORS):
        kubernetes_validate.validate(dict(manifest), VERSION, strict=True)


def pod_of(manifest: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The pod template of a Deployment or a Job; None for other kinds."""
    template: Mapping[str, Any] | None = manifest.get("spec", {}).get("template")
    return template if template is not None and "spec" in template else None


def containers_of(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def faults_of(pod: Mapping[str, Any]) -> Iterator[str]:
    """What a pod does against the rules; Kubernetes' "restricted" standard is among them."""
    spec = pod["spec"]
    security = spec.get("securityContext", {})
    if security.get("runAsNonRoot") is not True:
        yield "may run as root"
    if "runAsUser" in security or any("runAsUser" in _security(c) for c in containers_of(pod)):
        yield "wants one user id: a namespace may allow others"
    if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "has no seccomp profile"
    if "automountServiceAccountToken" not in spec:
        yield "does not say whether it has a service account's token"
    if spec.get("enableServiceLinks") is not False:
        yield "gets variables of Services"
    if pod["metadata"]["labels"].get("app.kubernetes.io/part-of") != "lalafo-vision":
        yield "is not selected by the network policies"
    for volume in spec.get("volumes", []):
        if "hostPath" in volume:
            yield f"mounts the node's {volume['hostPath']}"
    for container in containers_of(pod):
        yield from (f"{container['name']} {fault}" for fault in _container_faults(container))


def _container_faults(container: Mapping[str, Any]) -> Iterator[str]:
    security, resources = _security(container), container.get("resources", {})
    if security.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    if security.get("readOnlyRootFilesystem") is not True:
        yield "can write anywhere"
    if security.get("capabilities") != {"drop": ["ALL"]}:
        yield "has capabilities"
    if not {"cpu", "memory"} <= set(resources.get("requests", {})):
        yield "requests no processor or no memory"
    if resources.get("limits", {}).get("memory") != resources.get("requests", {}).get("memory"):
        yield "may use more memory than it requests"
    if re.fullmatch(r".*(:latest|[^/:]+/[^:]+)", container["image"]) and "@" not in str(
        container["image"]
    ):
        yield f"has no version in its image {container['image']}"
    for variable in container.get("env", []):
        if SECRET_TEXT.search(str(variable.get("value", ""))):
            yield f"has a secret in the variable {variable['name']}"
    if SECRET_TEXT.search(" ".join([*container.get("args", []), *container.get("command", [])])):
        yield "has a secret in its arguments"


def _security(container: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = container.get("securityContext", {})
    return found


def writable_paths(pod: Mapping[str, Any]) -> set[str]:
    return {
        mount["mountPath"]
        for container in containers_of(pod)
        for mount in container.get("volumeMounts", [])
        if not mount.get("readOnly", False)
    }
