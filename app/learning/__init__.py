"""What people taught a model: phrases that it knows at once, and that its next training gets."""
