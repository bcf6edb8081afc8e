"""What every tool would have done to an image: recorded once, to learn and to measure from."""
