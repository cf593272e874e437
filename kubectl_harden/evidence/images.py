"""Images → what their configurations say about how a container runs.

Every image is asked for once, several at a time; one time limit holds for all of them together, and an image that has
not answered by then counts as unknown.
"""

from __future__ import annotations

import queue
import re
import time
from collections.abc import Iterable, Mapping
from threading import Condition, Thread
from typing import Any, Final, NamedTuple, Protocol

from kubectl_harden.evidence.manifest import entrypoint_facts
from kubectl_harden.evidence.registry import ImageError, Registry, parse_reference
from kubectl_harden.model import Fact

__all__ = ["Answer", "Asker", "Images", "asker", "image_facts"]

AT_ONCE: Final = 16


class Answer(NamedTuple):
    """An image's configuration and digest, or why there is none."""

    config: Mapping[str, Any] | None
    digest: str = ""
    trouble: str = ""


class Asker(Protocol):
    """Asks a registry for an image's configuration."""

    def __call__(self, image: str, secrets: tuple[dict[str, Any], ...], seconds: float, /) -> Answer:
        """Return the answer; raises nothing."""


class Images:
    """The configurations of images, asked for once each.

    ``seconds`` is how long all waiting together may last, ``ask`` does the asking in threads of its own.
    """

    def __init__(self, ask: Asker, seconds: float) -> None:
        self._ask = ask
        self._left = seconds
        self._limit = seconds
        self._answers: dict[str, Answer] = {}
        self._begun: set[str] = set()
        self._done = Condition()
        self._queue: queue.SimpleQueue[tuple[str, tuple[dict[str, Any], ...]]] = queue.SimpleQueue()
        self._threads: list[Thread] = []

    def prepare(self, images: Mapping[str, tuple[dict[str, Any], ...]]) -> None:
        """Ask for images, each with the pull secrets for it, and wait until all have answered or the time is up."""
        new = {image: secrets for image, secrets in images.items() if image and image not in self._begun}
        self._begun.update(new)
        for item in new.items():
            self._queue.put(item)
        for _ in range(min(AT_ONCE, len(new)) - len(self._threads)):
            # Daemons: a registry that hangs does not keep the command from ending.
            thread = Thread(target=self._work, daemon=True)
            self._threads.append(thread)
            thread.start()
        start = time.monotonic()
        with self._done:
            self._done.wait_for(lambda: all(image in self._answers for image in images if image), max(0.0, self._left))
        self._left -= time.monotonic() - start

    def _work(self) -> None:
        while True:
            image, secrets = self._queue.get()
            if self._left <= 0:
                answer = Answer(None, trouble=self._late())
            else:
                answer = self._ask(image, secrets, max(self._left, 0.1))
            with self._done:
                self._answers[image] = answer
                self._done.notify_all()

    def _late(self) -> str:
        return f"not asked for within the limit of {self._limit:g} s"

    def answer(self, image: str) -> Answer:
        """Return what is known about an image so far."""
        if image in self._answers:
            return self._answers[image]
        return Answer(None, trouble=self._late())


def image_facts(image: str, answer: Answer, container: Mapping[str, Any]) -> Iterable[Fact]:
    """Yield what an image's configuration says about a container (given by its fields in the pod template).

    USER as the kubelet reads it from the runtime: no user is 0, a number is a number, anything else a name
    (pkg/kubelet/kuberuntime/helpers.go, getImageUser; containerd's and CRI-O's ImageStatus).
    """
    if answer.config is None:
        yield Fact("unknown", "image", f"nothing is known about image {image}", "image", answer.trouble)
        return
    user = answer.config.get("User") or ""
    name = str(user).partition(":")[0]
    number = _number(name) if name else 0
    says = f"image {image}"
    if number:
        yield Fact("user", "user", f"{says} runs as user {number}", "image", number)
    elif number == 0:
        what = f"says USER {user}" if user else "names no user, so it runs as root"
        yield Fact("user", "user", f"{says} {what}", "image", 0)
    else:
        words = f"{says} says USER {user}, a name, which the kubelet cannot verify"
        yield Fact("user", "user", words, "image", name)
    for port in answer.config.get("ExposedPorts") or ():
        number = _number(str(port).partition("/")[0])
        if number is not None and 0 < number < 1024:
            yield Fact("needs", "low port", f"{says} exposes port {number}", "image", number)
    if not container.get("command"):
        given = () if container.get("args") else _texts(answer.config.get("Cmd"))
        yield from entrypoint_facts(image, _texts(answer.config.get("Entrypoint")), given)
    for path in answer.config.get("Volumes") or ():
        yield Fact("needs", "directory", f"{says} writes to {path} (VOLUME)", "image", path)


def _number(text: str) -> int | None:
    """Return the number that Go's strconv.ParseInt reads, within the range of users and ports."""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def asker(registry: Registry) -> Asker:
    """Return the function that asks registries; one that does not answer is not asked again."""
    dead: dict[str, str] = {}

    def ask(image: str, secrets: tuple[dict[str, Any], ...], seconds: float) -> Answer:
        try:
            reference = parse_reference(image)
            if reference.host in dead:
                return Answer(None, trouble=dead[reference.host])
            config, digest = registry.config(reference, secrets, seconds)
        except ImageError as error:
            if error.dead:
                dead[reference.host] = str(error)
            return Answer(None, trouble=str(error))
        return Answer(config, digest)

    return ask
