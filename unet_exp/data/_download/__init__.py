"""Getting the official files of a dataset over lines that break."""
