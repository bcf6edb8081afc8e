"""Benchmarks of the whole house, outside the wheel; ``make bench`` runs them."""
