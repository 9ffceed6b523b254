"""Errors of the sandbox: what a person has to change before it can run.

Every message names the thing that is missing or in the way, and the way out.
"""


class SetupError(Exception):
    """The sandbox cannot be set up on this machine as it is."""


class Missing(SetupError):
    """A program, package or permission is not there: install it or give a server's URL instead."""


class PortOccupied(SetupError):
    """A port that was asked for is held by somebody else: free it or ask for another."""


class NotAnswering(SetupError):
    """A server does not answer: start it, or correct its URL."""
