"""The exit rules: pure functions of one position and one price."""
