"""The networks that a graph wires: what they are told apart by, and copies of them that gradients pass through."""
