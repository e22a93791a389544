"""What is asked: routes, the fields that matter, translations, error bodies."""
