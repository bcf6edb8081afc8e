"""How an agent learns: recurrent Q-learning, recurrent PPO, and what goes before."""
