"""Who plays episodes, and the one loop in which they play."""
