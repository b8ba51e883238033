"""Logger, sinks (CSV, TensorBoard), terminal monitors, and statistics of returns."""
