"""What several scripts take on their command lines."""

import argparse


def positive(text: str) -> int:
    """An integer from 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        message = f"{text}; legal: an integer from 1"
        raise argparse.ArgumentTypeError(message)
    return int(text)
