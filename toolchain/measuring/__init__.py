"""How good restored photos are, and what each tool is worth."""
