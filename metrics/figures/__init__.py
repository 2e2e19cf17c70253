"""The report as images: readable at the size of a node and at full size, and without telling red from green."""
