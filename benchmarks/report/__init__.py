"""What the Diversity Report's numbers are worth, and how long they take."""
