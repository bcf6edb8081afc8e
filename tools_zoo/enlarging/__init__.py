"""How tools that make images larger are trained: towards pixels, features, and critics."""
