"""The console: one page for operators, its modules, and the figures that the server builds for it."""
