"""The one training loop, and what it takes from a trainer; it knows no recipe."""
