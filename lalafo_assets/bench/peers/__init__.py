"""Others' designs, run beside ours in the same bench: the same model, the same photos."""
