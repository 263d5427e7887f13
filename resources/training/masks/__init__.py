"""Networks of masks that users bring, and masks that people have drawn."""
