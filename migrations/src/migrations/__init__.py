"""The fleet's one schema history, run as a one-shot job."""
