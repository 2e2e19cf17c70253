"""The measures of the Diversity Report, one module each."""
