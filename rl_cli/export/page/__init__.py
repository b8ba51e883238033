"""The page of format=html: its text, styles and scripts."""
