"""Content classifiers: what a post is, as calibrated probabilities. Imports nothing of ours."""
