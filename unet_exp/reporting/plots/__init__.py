"""Figures of the report: drawn once, used as SVG and PDF files and, in the page's own colours, inside it."""
