"""The trainer's pure decisions."""
