"""Error rates of the rule that tells near-duplicates."""
