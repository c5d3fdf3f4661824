"""Fuzzing of all that reads input from outside: damaged files and answers must be refused in one line, never crash."""
