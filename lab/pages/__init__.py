"""HTML and SVG that several rooms write."""
