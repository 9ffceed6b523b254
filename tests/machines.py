"""Hypothesis state machines: how a test runs one on purpose, the same way every time."""

from contextlib import suppress

from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


def finds_a_bug(machine: type[RuleBasedStateMachine]) -> bool:
    """Whether some order of steps breaks an assertion; not the shortest one, that takes its time."""
    with suppress(AssertionError):
        run_state_machine_as_test(machine, settings=repeatable(300, steps=30))
        return False
    return True


def repeatable(examples: int, *, steps: int) -> settings:
    """The same `examples` of so many steps on every run; a failure is shown as it was found."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        print_blob=False,
    )
