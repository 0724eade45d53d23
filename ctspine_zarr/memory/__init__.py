"""Memory for large arrays and answers: given, let go and given again."""
