"""The formats of files, read and written safely; nothing here knows what a net is."""
