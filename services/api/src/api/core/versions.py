"""Which texts name a version, and which versions need force to be traded with."""

import re

import msgspec

NEEDS_FORCE: frozenset[str] = frozenset({"refused", "insufficient_evidence", "quarantined"})
"""Verdicts that do not speak for a version: only a person who says why may put it to work."""

_NAME = re.compile(r"v[0-9]+(\.[0-9]+)?")


class Objection(msgspec.Struct, frozen=True):
    """Why a version may not be activated so."""

    code: str
    sentence: str


def is_version_name(text: str) -> bool:
    """`v7` and `v7.1` are; nothing that could be a path is."""
    return _NAME.fullmatch(text) is not None


def is_already_so(
    version: str, *, active_version: str | None, epoch: int, expected_epoch: int | None
) -> bool:
    """Whether activating `version` would change nothing: it is active, by the activation of this `epoch`.

    With an `expected_epoch` only where no other activation came since: this epoch, or the one before it,
    as a request that is sent again has it.
    """
    return version == active_version and expected_epoch in (None, epoch, epoch - 1)


def objection(
    version: str, verdict: str | None, sentence: str | None, *, force: bool, reason: str | None
) -> Objection | None:
    """What stands against activating a version with this verdict; None: nothing does.

    `force` without a reason is refused whatever the verdict: the audit would hold no answer to "why".
    """
    if force and not reason:
        return Objection("reason_needed", "force needs a reason: it is kept with the activation")
    if verdict in NEEDS_FORCE and not force:
        because = f": {sentence}" if sentence else ""
        return Objection(
            "force_needed",
            f"the verdict on version {version} is {verdict}{because}; `force` with a `reason` overrides that",
        )
    return None
