"""One training run: built, trained, stopped and resumed."""
