"""Plots, and pages that show them: one HTML file each, with nothing to load from elsewhere."""
