"""What was made: models, their versions, and which one answers."""
