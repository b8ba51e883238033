"""The package from Python: `import rl_cli`. What its functions do is what the commands do."""
