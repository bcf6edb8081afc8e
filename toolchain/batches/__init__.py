"""Many photos: restored one after the other, within a limit on memory, and recorded."""
