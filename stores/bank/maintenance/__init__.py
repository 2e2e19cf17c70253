"""Care for Memory Banks: tell what they hold, drop damage, free space, and move, copy or delete whole banks."""
