"""Extensions from outside the package: `example/` is an installed package, test_extension.py uses it."""
