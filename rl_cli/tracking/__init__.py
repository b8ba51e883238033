"""What a run reports: metrics, statistics, sinks (CSV, TensorBoard) and the terminal."""
