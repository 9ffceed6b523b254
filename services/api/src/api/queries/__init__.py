"""What the API asks the database beyond the registry and the training queue: one function a question."""
