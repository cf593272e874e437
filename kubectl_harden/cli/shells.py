"""Completion of the value after "=" in an option; click only completes a value after a space.

zsh and fish replace the whole word, option and all. bash splits words at "=", and replaces what comes after it.
"""

from __future__ import annotations

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ZshComplete,
    add_completion_class,
)

__all__ = ["register"]


def register() -> None:
    """Make click use these completions."""
    for kind in (_Bash, _Zsh, _Fish):
        add_completion_class(kind)


def _whole(found: list[CompletionItem], incomplete: str) -> list[CompletionItem]:
    """Return proposals for a value with the option before it, where a shell asks for the whole word."""
    option, equals, _ = incomplete.partition("=")
    if not (equals and option.startswith("-")):
        return found
    return [
        CompletionItem(f"{option}={item.value}", item.type, item.help) if item.type == "plain" else item
        for item in found
    ]


class _Zsh(ZshComplete):
    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        return _whole(super().get_completions(args, incomplete), incomplete)


class _Fish(FishComplete):
    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        return _whole(super().get_completions(args, incomplete), incomplete)


class _Bash(BashComplete):
    def get_completion_args(self) -> tuple[list[str], str]:
        args, incomplete = super().get_completion_args()
        if incomplete == "=" and args:
            return args[:-1], f"{args[-1]}="
        if len(args) > 1 and args[-1] == "=":
            return args[:-2], f"{args[-2]}={incomplete}"
        return args, incomplete
