"""How things are shown: text, tables, HTML, pictures, progress."""
