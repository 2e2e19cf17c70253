"""Shields, balls around references: distances and pushes, projection outside, and bounds that avoid reading."""
