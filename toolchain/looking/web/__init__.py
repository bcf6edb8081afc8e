"""The page of ``toolchain serve``: what it shows (`session`), and how (`page`, with Gradio)."""
