"""Recipes: what is trained in which order, with which settings, from which weights."""
