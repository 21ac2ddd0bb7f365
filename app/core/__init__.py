"""The ground under the slices: settings, database, errors, requests. Knows no slice and no torch."""
