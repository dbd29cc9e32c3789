"""One file per language, or per group of languages that one tool chain serves; `table.py` collects them."""
