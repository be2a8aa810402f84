"""HTML, SVG and JUnit documents that several rooms use."""
