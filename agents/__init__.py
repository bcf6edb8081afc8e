"""The LSTM policy, its trainers, and the reference policies it is measured against."""
