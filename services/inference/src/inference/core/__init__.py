"""The decision itself: pure functions of what is known at one instant."""
