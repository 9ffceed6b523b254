"""The simulated market and the neighbours' rules, pure."""
