"""The neighbours simulated, private servers to run on, and the demo that tells the story."""
