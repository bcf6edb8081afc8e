"""What is measured on held-out pairs once an agent has learnt."""
