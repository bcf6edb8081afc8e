"""Joint training, fits to a camera, and toolboxes that grow."""
