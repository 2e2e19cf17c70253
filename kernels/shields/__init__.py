"""Balls around references: who is inside, how to get out, and which references need not be read."""
