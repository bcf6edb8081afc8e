"""Denoisers fitted to noisy photos of which no clean version exists."""
