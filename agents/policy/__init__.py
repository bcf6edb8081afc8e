"""What a policy is: its network, how its values become a decision, and how it is stored."""
