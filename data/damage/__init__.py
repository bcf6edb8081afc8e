"""What happens to a photo: steps of damage, distributions over them, and the noise of cameras."""
