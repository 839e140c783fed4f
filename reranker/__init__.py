"""Rerank feeds so that engagement counts and harm does not."""
