"""Patches of photos in pairs, degraded and clean: stored, or made when they are asked for."""
