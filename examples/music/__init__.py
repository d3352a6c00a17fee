"""How `make_songs.py` makes music: genres as data, composing, and sound."""
