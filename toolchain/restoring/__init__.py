"""A restorer and the restorations it makes."""
