"""The report: reads run folders, compares models, writes a page, tables and figures. Nothing here imports torch."""
