"""Critics: networks that learn to tell clean images from restored ones, to train against."""
