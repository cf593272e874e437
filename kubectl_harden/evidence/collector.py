"""Evidence about a workload's containers from outside its template: live pods, images, sensors, profiles.

Each source is imported on first use: importing clients of registries and of the API server takes longer than most
plans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kubectl_harden.json_values import mappings
from kubectl_harden.model import Fact, Identity, Learned
from kubectl_harden.pod_security.pod import CONTAINER_LISTS

if TYPE_CHECKING:
    from kubectl_harden.evidence.images import Images
    from kubectl_harden.evidence.live_pods import RunningPods
    from kubectl_harden.evidence.recorded_profiles import RecordedProfiles
    from kubectl_harden.evidence.sensors import Observations
    from kubectl_harden.evidence.user_namespaces import UserNamespaces

__all__ = ["Learner"]


class Learner:
    """Collects facts for pod templates; each source may be missing. It changes nothing, and raises nothing."""

    def __init__(
        self,
        *,
        images: Callable[[], Images] | None = None,
        observations: Observations | None = None,
        pods: RunningPods | None = None,
        profiles: RecordedProfiles | None = None,
        user_namespaces: UserNamespaces | None = None,
    ) -> None:
        self._make_images = images
        self._images: Images | None = None
        self._observations = observations
        self.pods = pods
        self._profiles = profiles
        self._user_namespaces = user_namespaces

    @property
    def looks_around(self) -> bool:
        """Whether it asks registries, so that many templates should be prepared together."""
        return self._make_images is not None

    def prepare(self, templates: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Ask the registries for the images of (namespace, pod template) together."""
        if self._make_images is None:
            return
        wanted: dict[str, tuple[dict[str, Any], ...]] = {}
        for namespace, template in templates:
            spec = template.get("spec")
            if not isinstance(spec, dict):
                continue
            secrets: tuple[dict[str, Any], ...] = ()
            if self.pods is not None:
                secrets = self.pods.pull_secrets(namespace, spec)
            for image in _images_of(spec).values():
                wanted[image] = (*wanted.get(image, ()), *(s for s in secrets if s not in wanted.get(image, ())))
        if self._images is None:
            self._images = self._make_images()
        self._images.prepare(wanted)

    def begin(self, namespaces: Iterable[str]) -> None:
        """Expect all pods of some namespaces to be listed."""
        if self.pods is not None:
            self.pods.begin(namespaces)

    def add(self, pod: Mapping[str, Any]) -> None:
        """Take a pod that was listed."""
        if self.pods is not None:
            self.pods.add(pod)

    def __call__(self, identity: Identity, value: Mapping[str, Any], template: Mapping[str, Any]) -> Learned:
        """Return what is known about the containers of one pod template of an object, by their names."""
        spec = template.get("spec")
        if not isinstance(spec, dict):
            return {}
        out: dict[str, list[Fact]] = {}
        if self._make_images is not None:
            self.prepare([(identity.namespace or "", template)])
        if self._images is not None:
            from kubectl_harden.evidence.images import image_facts

            for container in _containers(spec):
                name, image = str(container.get("name", "")), container.get("image")
                if isinstance(image, str):
                    out.setdefault(name, []).extend(image_facts(image, self._images.answer(image), container))
        if self.pods is not None:
            from kubectl_harden.evidence.live_pods import labels_of, pod_facts, port_facts, seen

            if value.get("kind") == "Pod":
                found = [seen(value)]
            else:
                found = self.pods.of(identity.namespace or "", labels_of(value, template))
            if found:
                _add(out, pod_facts(found))
            if found and _serves_low_port(spec):
                out.setdefault("", []).extend(port_facts(self.pods.node(found)))
        if self._observations is not None:
            _add(out, self._observations.facts(identity, _images_of(spec)))
        if self._profiles is not None:
            labels = (template.get("metadata") or {}).get("labels") or {}
            _add(out, self._profiles.of(identity.namespace or "", labels))
        if self._user_namespaces is not None:
            found_of_pod = self._user_namespaces.facts(value, identity.namespace or "", template)
            out.setdefault("", []).extend(found_of_pod)
        return {name: tuple(facts) for name, facts in out.items()}


def _add(out: dict[str, list[Fact]], found: Mapping[str, tuple[Fact, ...]]) -> None:
    for name, facts in found.items():
        out.setdefault(name, []).extend(facts)


def _containers(spec: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Yield the containers of a pod that is not validated yet: values of a wrong type are reported by the verdict."""
    for key in CONTAINER_LISTS:
        yield from mappings(spec.get(key))


def _images_of(spec: Mapping[str, Any]) -> dict[str, str]:
    """Return the image of each container, by its name."""
    return {str(c.get("name", "")): c["image"] for c in _containers(spec) if isinstance(c.get("image"), str)}


def _serves_low_port(spec: Mapping[str, Any]) -> bool:
    ports = (port for container in _containers(spec) for port in mappings(container.get("ports")))
    return any(isinstance(port.get("containerPort"), int) and port["containerPort"] < 1024 for port in ports)
