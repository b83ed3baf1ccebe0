"""Small drawn data sets, so that everything can be tried without downloads."""
