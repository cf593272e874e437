"""What an edit may break, and the evidence for it: each kind of change has rules.

The rules of a change are tried in order; the first that finds evidence decides, and the last of them, which needs none,
says that nothing is known. Where the decision is review, a person is shown everything to review. The changes are
defined next to the controls whose edits make them, and those of companions in planning/companion_changes.py.
"""

# Without "from __future__ import annotations": each annotation of a named tuple would be compiled at every start.
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from kubectl_harden.model import RISKS, Edit, Fact, Facts, Op, Path, Risk
from kubectl_harden.pod_security.pod import Container, Pod

__all__ = [
    "Case",
    "Change",
    "Judgement",
    "Rule",
    "user_of",
]


def user_of(pod: Pod, container: Container) -> int | None:
    """Return the runAsUser that holds for a container, or None."""
    user: int | None = container.security.get("runAsUser", pod.security.get("runAsUser"))
    return user


class Case(NamedTuple):
    """What a rule looks at: a container (None: the pod as a whole), what is known about it, and what is changed.

    ``name`` is the capability, host namespace or hostPath volume that is removed, or the number of a user.
    """

    pod: Pod
    container: Container | None
    facts: tuple[Fact, ...]
    name: str = ""

    @property
    def user(self) -> int | None:
        """The runAsUser that holds for the container, or None."""
        return user_of(self.pod, self.container) if self.container is not None else None


class Rule(NamedTuple):
    """``when`` returns the evidence in a sentence, or None. ``offers`` name edits that would lower the risk."""

    name: str
    risk: Risk
    sentence: str
    source: str
    when: Callable[[Case], str | None]
    offers: tuple[str, ...] = ()


class Judgement(NamedTuple):
    """The risk of an edit, why, and what would lower it; ``unproved``: no evidence about the risk is known."""

    risk: Risk
    why: str
    offers: tuple[str, ...] = ()
    unproved: bool = False

    def edit(self, op: Op, path: Path, value: Any = None, *, checks: tuple[str, ...] = (), companion: str = "") -> Edit:
        """Return an edit with this judgement; ``checks`` are the controls that ask for it."""
        return Edit(
            op=op, path=path, value=value, checks=checks, companion=companion,
            risk=self.risk, why=self.why, offers=self.offers, unproved=self.unproved,
        )  # fmt: skip


class Change(NamedTuple):
    """A kind of change, by the name that ``explain`` gives it, and the rules that judge it, in order.

    The last rule needs no evidence.
    """

    name: str
    rules: tuple[Rule, ...]

    def judge(self, meaning: str, pod: Pod, containers: Iterable[Container], facts: Facts, name: str = "") -> Judgement:
        """Judge a change of containers (without any: of the pod); the worst judgement counts.

        ``meaning`` says what the change does, ``name`` what it removes (see ``Case``). A safe change is explained by
        the evidence alone.
        """
        listed = tuple(containers)
        if not facts.containers and not facts.pod and not any(user_of(pod, c) for c in listed):
            # Nothing is known, and only the last rule needs no evidence.
            last = self.rules[-1]
            return Judgement(last.risk, meaning, last.offers, unproved=last.risk == "review")
        cases = [Case(pod, c, (*facts.containers.get(c.path, ()), *facts.pod), name) for c in listed]
        decided = [found for case in cases or [Case(pod, None, facts.pod, name)] for found in self._decide(case)]
        risk = max((rule.risk for rule, _ in decided), key=RISKS.index)
        worst = [(rule, evidence) for rule, evidence in decided if rule.risk == risk]
        evidence = dict.fromkeys(text for _, text in worst if text)
        offers = tuple(dict.fromkeys(offer for rule, _ in worst for offer in rule.offers))
        if risk == "safe" and evidence:
            return Judgement(risk, "; ".join(evidence), offers)
        unproved = risk == "review" and not evidence and all(rule is self.rules[-1] for rule, _ in worst)
        return Judgement(risk, "; ".join((*((meaning,) if meaning else ()), *evidence)), offers, unproved)

    def _decide(self, case: Case) -> list[tuple[Rule, str]]:
        """Return the rule that decides, with its evidence; where it says review, all rules that find something to
        review.
        """
        decided: list[tuple[Rule, str]] = []
        *rules, last = self.rules
        for rule in rules:
            if decided and rule.risk != "review":
                continue
            evidence = rule.when(case)
            if evidence is not None:
                decided.append((rule, evidence))
                if rule.risk != "review":
                    break
        return decided or [(last, last.when(case) or "")]
