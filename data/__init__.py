"""Degradations, clean-image sources, the patch store, downloads and metrics."""
