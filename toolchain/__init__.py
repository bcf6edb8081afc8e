"""The product: restore photos with a learned sequence of small tools, and see why."""
