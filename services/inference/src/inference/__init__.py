"""Inference: live feature vectors in, trading signals out."""
