"""What is asked: questions and conversations of every suite, checked as they are read, and sets to train on."""
