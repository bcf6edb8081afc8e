"""Photos in files: bytes to arrays and back; knows nothing of restoring."""
