"""Networks, action distributions and return distributions: pure functions of named parameters."""
