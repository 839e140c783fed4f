"""Offline comparison of two policies on the same requests: exposure, activity, intervals, reports."""
