"""Trainer: datasets in, model versions out."""
