"""Which versions' files are not needed any more?"""

from collections.abc import Collection, Mapping, Sequence


def expendable(
    newest_first: Mapping[str, Sequence[str]], *, keep: int, needed: Collection[str]
) -> tuple[str, ...]:
    """Of each strategy's versions those that are neither among the newest `keep` nor `needed`."""
    return tuple(
        version for versions in newest_first.values() for version in versions[keep:] if version not in needed
    )
