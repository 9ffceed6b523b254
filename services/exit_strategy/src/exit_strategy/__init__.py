"""Exit strategy: position events and prices in, exit signals out."""
