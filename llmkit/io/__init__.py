"""Files: reading rows of any format, writing rows, atomic writes, the hub."""
