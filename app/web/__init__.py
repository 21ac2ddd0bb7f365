"""What a browser gets: pages as plain files, served from the package, nothing from elsewhere."""
