"""How good a version is on a text or data set of the caller's: at once, or as a job."""
