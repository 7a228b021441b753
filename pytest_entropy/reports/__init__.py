"""What people read of an experiment: terminal, HTML, Markdown, CSV, JUnit, TensorBoard."""
