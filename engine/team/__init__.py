"""Teams: one kernel on several processes at once, which meet at barriers inside it."""
