"""Errors, shared types, state, seeding, schedules, memory limits and child processes."""
