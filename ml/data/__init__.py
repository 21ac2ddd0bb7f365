"""What models are made of: texts and pictures as files on disk. No torch here."""
