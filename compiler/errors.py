"""The one exception that means: what you gave me is wrong."""


class InputError(Exception):
    """Bad input from outside: a file, an argument, a model that does not fit.

    The message is one line that says what is wrong, where, and what would be right. The `lpu` command prints it and
    exits with code 2. A mistake of our own is any other exception.
    """
