"""What is inside a model file, and how it becomes something CTranslate2 runs."""
