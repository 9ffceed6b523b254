"""The API's pure decisions."""
