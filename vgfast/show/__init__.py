"""How things are shown: text, tables, HTML, pictures, progress."""

# Of live pages on 127.0.0.1, if it is free: here, as the command names it before it needs what serves them.
PORT = 8765
